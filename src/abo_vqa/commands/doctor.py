"""`abo-vqa doctor`: what of the machine and the project would stop a run, and how to mend it."""

import sys
from pathlib import Path

import typer

from abo_vqa.commands.project_option import Project, enter_project

EXAMPLES = """
abo-vqa doctor             # in the project
"""


def main(project: Project = None) -> None:
    """Check machine and project, and say how to mend them.

    Looked at are Python, disk, memory, CUDA, Git, locks, parameters, the MLflow store and the DVC cache. What a killed
    DVC left cut off (its rwlock, dvc.lock) is mended at once if no DVC runs here. Exit status 1 if
    something is wrong.
    """
    enter_project(project)
    from abo_vqa.commands.checkup import CHECKS, Finding
    from abo_vqa.common.errors import InputError

    wrong = False
    for name, check in CHECKS.items():
        try:
            findings = check(Path.cwd())
        except InputError as error:
            findings = [Finding("wrong", str(error))]
        for found in findings:
            print(f"{name:9} {found.verdict:7} {found.text}" + (f"\n{'':17} mend: {found.mend}" if found.mend else ""))
            wrong |= found.verdict == "wrong"
    if wrong:
        print("abo-vqa doctor: something is wrong, see above", file=sys.stderr)
        raise typer.Exit(1)
