"""`abo-vqa repro` prints a line per stage, the whole output of one that fails, and what to do next."""

import io
import subprocess
import sys
import webbrowser
from pathlib import Path
from threading import Event

import pytest

from abo_vqa.commands.open_page import open_page
from abo_vqa.commands.repro_output import Output, closing
from pretended import options_help

NOISE = "/lib/transformers/modeling.py:1: FutureWarning: old"
# What DVC prints around the stages, and the stages between.
STAGES = [
    "'data.dvc' didn't change, skipping",
    "Stage 'sample' didn't change, skipping",
    "Stage 'generate' is cached - skipping run, checking out outputs",
    "Running stage 'split':",
    "> python -m abo_vqa.splits.stage",
    "hash:   0%|          | 0/9\rhash:  50%|#    | 4/9\rhash: 100%|#####| 9/9",
    NOISE,
    "warning: the MLflow server is away",
    "split: train 3 questions",
    "Updating lock file 'dvc.lock'",
    "",
    "Running stage 'train@options-1':",
    "> python -m abo_vqa.training.stage --model options-1",
    NOISE,
    "  7%|#  | 7/100\r  8%|#  | 8/100\rtrain options-1: 8 steps; 5 s",
    "Updating lock file 'dvc.lock'",
    "To track the changes with git, run:",
    "Use `dvc push` to send your updates to remote storage.",
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def follow(folder: Path, lines: list[str], status: int = 0, out: io.StringIO | None = None, stop: bool = False) -> str:
    out, log, stopped = out or io.StringIO(), folder / "log", Event()
    if stop:
        stopped.set()
    code = f"import sys; sys.stdout.write({(chr(10).join(lines) + chr(10))!r}); sys.exit({status})"
    with log.open("wb") as written, Output(4, out) as output:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=written, stderr=subprocess.STDOUT)
        assert output.follow(process, log, stopped) == status
    return out.getvalue()


def test_a_line_per_stage_with_its_time_and_what_it_did(tmp_path: Path) -> None:
    restored, split, warning, train, total = follow(tmp_path, STAGES).splitlines()
    assert restored.split(maxsplit=1) == ["generate", "restored from DVC's cache"]
    assert split.split(maxsplit=2) == ["split", "0:00", "train 3 questions"]
    assert warning.strip() == "warning: the MLflow server is away", "ours are kept"
    assert train.split(maxsplit=2) == ["train@options-1", "0:00", "8 steps; 5 s"]
    assert total == "2 stages in 0:00, 2 unchanged"


def test_a_terminal_has_a_bar_that_ends(tmp_path: Path) -> None:
    shown = follow(tmp_path, STAGES, out=Terminal())
    assert " of 4 stages" in shown
    last = shown.splitlines()[-1]
    assert last.rpartition("\r")[2].strip() == "2 stages in 0:00, 2 unchanged"
    assert NOISE not in shown


def test_the_whole_output_of_a_failing_stage_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [
        "Running stage 'score':",
        "> python",
        "  1%|#  | 1/9\r  2%|#  | 2/9",
        "Traceback",
        "ValueError: 3",
        "ERROR: failed",
    ]
    shown = follow(tmp_path, [*STAGES, *broken], 1)
    assert "score" not in shown and "1 stages" not in shown
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "stage score failed; its whole output:",
        *("Running stage 'score':", "> python", "  2%|#  | 2/9", "Traceback", "ValueError: 3", "ERROR: failed"),
        f"(also in {tmp_path / 'log'})",
    ]


def test_what_dvc_refuses_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow(tmp_path, ["ERROR: Unable to acquire lock."], 255)
    assert capsys.readouterr().err.startswith("DVC failed; its whole output:\nERROR: Unable to acquire lock.\n")


def test_a_stage_that_was_told_to_stop_has_not_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = follow(tmp_path, ["Running stage 'score':", "Killed"], 143, stop=True)
    assert capsys.readouterr().err == "" and shown.startswith("0 stages")


def test_the_last_lines_are_the_verdict_the_files_and_the_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    told = closing(options_help())
    assert "Did showing the options in training help? " in told and "Did training help? " in told
    assert "95 % interval" in told and "`" not in told
    lines = told.splitlines()
    assert len(lines) <= 18 and max(map(len, lines)) <= 120
    for name in ("reports/report.html", "reports/comparison.md", "params.yaml", "make ui", "dvc exp run -S"):
        assert sum(line.startswith(f"  {name}") for line in lines) == 1
    monkeypatch.delenv("VIRTUAL_ENV")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv").mkdir()
    assert "source .venv/bin/activate; dvc exp run" in closing(options_help()), "make's environment is not the user's"


class Browser:
    def __init__(self, name: str) -> None:
        self.name, self.opened = name, []  # type: ignore[var-annotated]

    def open(self, url: str) -> bool:
        self.opened.append(url)
        return True


@pytest.mark.parametrize(
    ("terminal", "variables", "name", "opened"),
    [
        (True, {"DISPLAY": ":0"}, "firefox", True),
        (True, {"WAYLAND_DISPLAY": "w"}, "xdg-open", True),
        (False, {"DISPLAY": ":0"}, "firefox", False),
        (True, {}, "firefox", False),
        (True, {"DISPLAY": ":0", "CI": "true"}, "firefox", False),
        (True, {"DISPLAY": ":0", "SSH_CONNECTION": "a"}, "firefox", False),
        (True, {"DISPLAY": ":0"}, "/usr/bin/w3m", False),
    ],
)
def test_the_report_is_opened_where_a_person_sees_it(terminal, variables, name, opened, monkeypatch, tmp_path) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "CI", "SSH_CONNECTION"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    browser = Browser(name)
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "stdout", Terminal() if terminal else io.StringIO())
    assert open_page(tmp_path / "report.html") == opened
    assert browser.opened == ([(tmp_path / "report.html").as_uri()] if opened else [])
