"""`abo-vqa params`: parameters with values and descriptions, the reference page, and a check of params.yaml."""

import re
from typing import Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project
from abo_vqa.common.errors import InputError
from abo_vqa.common.project import PARAMS_FILE

EXAMPLES = """
abo-vqa params                       # all
abo-vqa params train model.lora      # some groups
abo-vqa params --check               # is params.yaml valid? exit status 1 if not
"""


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Parameters or groups, such as train. Default: all.", show_default=False),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check params.yaml; status 1 if not valid.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/parameters.md, the reference page.")] = False,
    project: Project = None,
) -> None:
    """Show, check or document the parameters of params.yaml.

    Every line has a parameter, its value and its description. Change one with `dvc exp run -S NAME=VALUE`, or edit
    params.yaml. Types, bounds and the paper's values are in docs/parameters.md.
    """
    enter_project(project)
    from abo_vqa.commands.parameter_page import PAGE, PIPELINE, parameters, render
    from abo_vqa.common.params import read_params

    values = read_params()
    text = PARAMS_FILE.read_text(encoding="utf-8")
    if check:
        print(f"{PARAMS_FILE}: valid; models {', '.join(values.models())}")
    if write:
        PAGE.write_text(render(text, PIPELINE.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{PAGE}: written")
    if check or write:
        return
    found = parameters(text, PIPELINE.read_text(encoding="utf-8"))
    for name in names or []:
        if not any(_in_group(one.name, name) for one in found):
            groups = ", ".join(dict.fromkeys(one.name.partition(".")[0] for one in found))
            raise InputError(f"{name}: no such parameter or group; groups are {groups}")
    for one in found:
        if not names or any(_in_group(one.name, name) for name in names):
            print(f"{one.name} = {one.demo}" + (f"    # {re.sub('`', '', one.text)}" if one.text else ""))


def _in_group(parameter: str, name: str) -> bool:
    return parameter == name or parameter.startswith(f"{name}.")
