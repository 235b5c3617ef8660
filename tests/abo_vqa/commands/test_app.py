"""The command `abo-vqa`: help a person can learn from, plain errors, and the project found from any folder."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from abo_vqa.commands.app import COMMANDS, app

HEAVY = {"torch", "transformers", "pandas", "numpy", "mlflow", "pydantic", "ruamel.yaml", "rich", "scipy"}


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], prog_name="abo-vqa")


def imported(root: Path, lines: list[list[str]]) -> set[str]:
    """Return which heavy modules are imported by a process that reads the command lines."""
    code = (
        "import sys; from abo_vqa.commands.app import app\n"
        f"for line in {lines}:\n"
        "    try: app(line)\n"
        "    except SystemExit: continue\n"
        f"print('\\n', *{HEAVY} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def project(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without results, and a folder `deep/er` in it; the test stands beside the project."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    folder = tmp_path / "project"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "docs").mkdir()
    shutil.copytree(root / "presets", folder / "presets")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, folder)
    (tmp_path / "beside").mkdir()
    monkeypatch.chdir(tmp_path / "beside")
    return folder


# Help.


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command_with_a_line_about_it(option: str) -> None:
    done = invoke(option)
    assert done.exit_code == 0
    listed = dict(re.findall(r"^  ([a-z-]+)  +(\S.*)$", done.stdout.partition("Commands:")[2], re.MULTILINE))
    assert list(listed) == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.values()), "cut off"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_a_command_explains_every_argument_and_shows_examples(name: str, option: str) -> None:
    done = invoke(name, option)
    assert done.exit_code == 0
    described, _, examples = done.stdout.partition("Examples:")
    rows = re.findall(r"^  ([-A-Z]\S.*?)(?:  +|\n {10,})(\S.*)$", described, re.MULTILINE)
    assert rows[-1] == ("-h, --help", "Show this message and exit.")
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", examples))
    assert f"abo-vqa {name}" in examples
    assert options <= set(re.findall(r"(?<![\w-])--[a-z][\w-]*", described)) | {"--queue"}, "examples can be run"


def test_no_command_lists_the_commands() -> None:
    done = invoke()
    assert done.exit_code == 2
    assert all(name in done.output for name in COMMANDS)


def test_every_command_is_in_the_readme_or_a_page(root: Path) -> None:
    text = "\n".join(page.read_text() for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))])
    assert [name for name in COMMANDS if f"abo-vqa {name}" not in text] == []


def test_help_imports_nothing_heavy(root: Path) -> None:
    assert imported(root, [["--help"]]) == set()
    # typer asks pydantic what a command's arguments are.
    assert imported(root, [[name, "--help"] for name in COMMANDS]) <= {"pydantic"}


# Mistakes.


WRONG = {
    "predikt": "No such command 'predikt'",
    "predict": "Missing argument 'IMAGE'",
    "predict a.jpg What? --colour": "No such option: --colour",
    "predict a.jpg What? --options": "Option '--options' requires an argument",
    "evaluate a.csv": "Missing option '--base'",
    "evaluate a.csv --base b --dtype int8": "Invalid value for '--dtype'",
    "evaluate a.csv --base b --conditions shut": "Invalid value for '--conditions'",
    "evaluate a.csv --base b --limit 0": "Invalid value for '--limit'",
    "export options-1": "Missing option '--to'",
    "export options-1 --to out --questions 0": "Invalid value for '--questions'",
    "predict-table --csv_path a.csv": "Missing option '--image-dir'",
    "compare": "Missing argument 'FILES...'",
    "serve --port http": "Invalid value for '--port'",
    "register now": "unexpected extra argument(s) (now)",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_named_with_status_2(line: str) -> None:
    done = invoke(*line.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert WRONG[line] in done.stderr


def test_a_wrong_command_line_is_named_before_anything_heavy_is_imported(root: Path) -> None:
    assert imported(root, [line.split() for line in WRONG]) <= {"pydantic"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predict", "nowhere.jpg", "What?"], "nowhere.jpg: no such file"),
        (
            ["preset", "papers"],
            "papers: neither a preset nor a file; presets are ablations, paper, qwen, real-sample, ",
        ),
        (["params", "trian"], "trian: no such parameter or group; groups are seed, engine, ray, "),
        (["export", "optoins", "--to", "out"], "optoins: no such model; params.yaml has standard, options, "),
        (["register"], "reports/comparison.json: not found"),
        (["data-docs"], "tables/questions.parquet: not found"),
    ],
)
def test_a_wrong_input_is_named_with_status_1(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(project)
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"abo-vqa {arguments[0]}: error: {says}")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("evaluate", "predict-table", "compare")])
def test_outside_of_a_project_a_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    given = {
        "predict": ["a.jpg", "What?"],
        "pin": ["owner/name"],
        "export": ["options-1", "--to", "out"],
        "import-set": ["a.csv"],
    }.get(name, [])
    done = invoke(name, *given)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"abo-vqa {name}: error: {tmp_path}: not in a project") and "--project" in done.stderr
    done = invoke(name, *given, "--project", "no/where")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"abo-vqa {name}: error: --project no/where: no params.yaml in it")


def test_a_broken_params_yaml_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("params", "--check", "--project", project).exit_code == 0
    with (project / "params.yaml").open("a") as file:
        file.write("\nsead: 1\n")
    monkeypatch.chdir(project)
    for arguments in (["--check"], [], ["--write"]):
        done = invoke("params", *arguments)
        assert (done.exit_code, "sead: unknown parameter" in done.stderr) == (1, True)


# From any folder.


def test_the_project_is_found_from_below_by_dvc_root_or_by_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = invoke("params", "train", "--project", "../project").stdout
    assert re.search(r"^train\.lora\.r = 16    # rank$", shown, re.MULTILINE)
    monkeypatch.chdir(project / "deep/er")
    assert invoke("params", "train").stdout == shown
    monkeypatch.chdir(project.parent)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert invoke("params", "train").stdout == shown


def test_a_given_project_is_taken_before_dvc_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shutil.copytree(project, project.parent / "other")
    text = (other / "params.yaml").read_text()
    (other / "params.yaml").write_text(re.sub(r"^seed: \d+", "seed: 5", text, count=1, flags=re.MULTILINE))
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert invoke("params", "seed", "--project", other).stdout.startswith("seed = 5 ")


def test_a_preset_is_applied_by_name_and_by_path_from_where_the_user_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (project / "params.yaml").read_text()
    (project / "deep/mine.yaml").write_text("seed: 5\n")
    for folder, given in (("deep/er", "paper"), ("deep", "../presets/paper.yaml"), ("deep", "presets/paper.yaml")):
        (project / "params.yaml").write_text(before)
        monkeypatch.chdir(project / folder)
        done = invoke("preset", given, "--device", "cpu")
        assert (done.exit_code, "sample.products: 1000 -> 12000" in done.stdout) == (0, True), given
    monkeypatch.chdir(project / "deep/er")
    assert invoke("preset", "../mine.yaml").stdout.endswith("-> 5\n")
    assert re.search(r"^seed: 5 ", (project / "params.yaml").read_text(), re.MULTILINE)
    listed = invoke("preset").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [path.stem for path in sorted((project / "presets").iterdir())]
    assert all(len(line.split()) > 4 for line in listed), "a line about each"


def test_an_image_is_looked_up_where_the_user_stands(
    project: Path, images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "deep/chair.jpg").write_bytes(images["image-0"])
    monkeypatch.chdir(project / "deep")
    assert invoke("predict", "chair.jpg", "").stderr.startswith("abo-vqa predict: error: question: is empty")
    monkeypatch.chdir(project / "deep/er")
    assert "deep/er/chair.jpg: no such file" in invoke("predict", "chair.jpg", "").stderr


def test_the_reference_page_is_written_in_the_project(project: Path) -> None:
    done = invoke("params", "--write", "--project", project)
    assert (done.exit_code, done.stdout) == (0, "docs/parameters.md: written\n")
    assert "| `train.lora.r` |" in (project / "docs/parameters.md").read_text()


# The installed command.


def test_the_entry_point_is_the_app(root: Path) -> None:
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["abo-vqa"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_a_checkout_on_the_path_goes_before_the_installed_one(tmp_path: Path) -> None:
    """DVC's temporary experiments run the code of their own folder by PYTHONPATH=src."""
    (tmp_path / "src/abo_vqa/commands").mkdir(parents=True)
    for folder in ("", "commands"):
        (tmp_path / "src/abo_vqa" / folder / "__init__.py").touch()
    (tmp_path / "src/abo_vqa/commands/app.py").write_text("def main(): print('another checkout')\n")
    environment = os.environ | {"PYTHONPATH": "src"}
    command = [Path(sys.executable).parent / "abo-vqa", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "another checkout\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("abo-vqa pre", ["predict", "predict-table", "preset"]),
        ("abo-vqa preset pa", ["paper"]),
        ("abo-vqa predict --mo", ["--model"]),
    ],
)
def test_the_shell_completes_commands_presets_and_options(root: Path, words: str, completed: list[str]) -> None:
    asked = {"_ABO_VQA_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment = os.environ | {"PYTHONPATH": str(root / "src")} | asked
    command = [sys.executable, "-m", "abo_vqa.commands.app"]
    done = subprocess.run(command, cwd=root / "docs", env=environment, capture_output=True, text=True)
    assert done.stdout.split() == completed, done.stderr
