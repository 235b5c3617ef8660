"""What `abo-vqa repro` prints: a line per stage with its time, the whole output of one that fails, and what is next."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from threading import Event, Lock
from typing import Any, Self, TextIO

from tqdm import tqdm

# Under the project root: what DVC and the stages print, a file per DVC process.
LOGS = Path("logs/repro")
REPORT = Path("reports/report.html")
_POLL_SECONDS = 0.2
_RUNS = re.compile(r"Running stage '(.+)':")
_SAME = re.compile(r"Stage '(.+)' didn't change, skipping")
_RESTORED = re.compile(r"Stage '(.+)' is cached - skipping run")
_BAR = re.compile(r"(\d+)%\|")
# DVC's own lines after a stage, and the command before it.
_DVC = (
    "Updating lock file",
    "Generating lock file",
    "To track the changes",
    "To enable auto staging",
    "Use `dvc push`",
)
_FORMAT = "{n_fmt} of {total_fmt} stages, {elapsed}{postfix}"
_WIDTH = 110  # of a stage's line where the output is no terminal


class Output:
    """Follows DVC processes side by side and prints a line when a stage ends; on a terminal, a bar below the lines.

    stages: the pipeline's number of stages, of which the bar counts those that have ended or did not change.
    """

    def __init__(self, stages: int, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._lock, self._started = Lock(), time.monotonic()
        self._running: dict[str, str] = {}
        self.ran: list[str] = []
        self.unchanged: set[str] = set()
        live = self._out.isatty()
        self._bar = tqdm(
            total=stages, file=self._out, disable=not live, leave=False, dynamic_ncols=True, bar_format=_FORMAT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def follow(self, process: "subprocess.Popen[bytes]", log: Path, stopped: Event) -> int:
        """Wait for a DVC process whose output goes to `log`; print its stages' lines; return its status.

        stopped: set when the processes are stopped; their status is then no failure to print.
        """
        job = _Job()
        with log.open(encoding="utf-8", errors="replace", newline="") as written:
            status = None
            while status is None:
                try:
                    status = process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    pass
                self._read(job, written.read())
        self._read(job, "\n")
        if not status:
            self._end(job)
        elif not stopped.is_set():
            self._print_failure(job, log)
        return status

    def close(self) -> None:
        """Remove the bar and print how many stages ran, in what time."""
        self._bar.close()
        same = len(self.unchanged - set(self.ran))
        ran = f"{len(self.ran)} stages in {_duration(time.monotonic() - self._started)}"
        print(f"{ran}, {same} unchanged" if same else ran, file=self._out, flush=True)

    def _read(self, job: "_Job", text: str) -> None:
        *whole, job.rest = (job.rest + text).split("\n")
        for line in whole:
            self._take(job, line)
        if job.stage and not self._bar.disable and (shares := _BAR.findall(job.rest[-400:])):
            self._show(job.stage, f"{job.stage} {shares[-1]} %")

    def _take(self, job: "_Job", line: str) -> None:
        # A progress bar overwrites its line: only its last state counts.
        line = next((part for part in reversed(line.rstrip("\r").split("\r")) if part.strip()), "").rstrip()
        if found := _RUNS.match(line):
            self._end(job)
            job.stage, job.started = found[1], time.monotonic()
            self._show(job.stage, job.stage)
        elif found := _SAME.match(line):
            self._end(job)
            self._count(found[1])
        elif found := _RESTORED.match(line):
            self._end(job)
            self._count(found[1])
            self._line(found[1], "", "restored from DVC's cache")
        elif job.stage and line.startswith(_DVC[:2]):
            self._end(job)
        job.lines.append(line)

    def _end(self, job: "_Job") -> None:
        if not job.stage:
            job.lines.clear()
            return
        stage, seconds = job.stage, time.monotonic() - job.started
        with self._lock:
            self.ran.append(stage)
            self._running.pop(stage, None)
            self._bar.update()
        self._line(stage, _duration(seconds), _summary(stage, job.lines))
        for line in job.lines:
            if re.match(r"(abo-vqa[\w ]*: )?warning: ", line):
                self._write(f"  {line}")
        job.stage = ""
        job.lines.clear()

    def _count(self, stage: str) -> None:
        with self._lock:
            if stage not in self.unchanged and stage not in self.ran:
                self._bar.update()
            self.unchanged.add(stage)

    def _show(self, stage: str, text: str) -> None:
        with self._lock:
            self._running[stage] = text
            self._bar.set_postfix_str(", ".join(self._running.values()))

    def _line(self, stage: str, took: str, summary: str) -> None:
        width = self._bar.ncols or _WIDTH if not self._bar.disable else _WIDTH
        line = f"{stage:<20} {took:>7}  {summary}".rstrip()
        self._write(line if len(line) <= width else line[: width - 1] + "…")

    def _print_failure(self, job: "_Job", log: Path) -> None:
        about = f"stage {job.stage} failed" if job.stage else "DVC failed"
        text = "\n".join(line for line in job.lines if line)
        self._write(f"{about}; its whole output:\n{text}\n(also in {log})", sys.stderr)

    def _write(self, text: str, file: TextIO | None = None) -> None:
        with self._lock:
            tqdm.write(text, file=file or self._out)
            (file or self._out).flush()


class _Job:
    """What one DVC process has printed of its present stage, line by line."""

    def __init__(self) -> None:
        self.rest, self.stage, self.started = "", "", 0.0
        self.lines: list[str] = []


def _summary(stage: str, lines: Sequence[str]) -> str:
    """Return the last line that a stage printed under its name, without that; else its last line."""
    told = [line for line in reversed(lines) if line and not _BAR.search(line) and not line.startswith(("> ", *_DVC))]
    named = re.compile(rf"{re.escape(re.split('[@_]', stage)[0])}(?: [\w-]+)?: ")
    line = next((line for line in told if named.match(line)), "") or next(iter(told), "")
    return named.sub("", line, count=1)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def closing(comparison: Mapping[str, Any]) -> str:
    """Return the last lines: the verdict, the files to open and the commands to try."""
    from abo_vqa.comparison.words import headlines

    said = [f"{question} {sentence}".replace("`", "") for question, sentence in headlines(comparison)]
    verdict = [fill(text, _WIDTH, subsequent_indent="  ") for text in said]
    # make runs in .venv, the user's shell only once it is activated.
    activate = "" if "VIRTUAL_ENV" in os.environ or not Path(".venv").is_dir() else "source .venv/bin/activate; "
    files = (
        (str(REPORT), "the answer, its figures, and test images with every model's answers"),
        ("reports/comparison.md", "every table"),
        ("params.yaml", "every parameter; after a change, only what depends on it runs again"),
    )
    commands = (
        ("make ui", "the runs in MLflow; it prints their address"),
        (f"{activate}dvc exp run -S train.lora.r=8", "another parameter; then: make experiments"),
    )
    width = max(len(command) for command, _ in commands)
    return "\n".join(
        [
            "",
            *verdict,
            "Open:",
            *(f"  {name:<{width}}  {what}" for name, what in files),
            "Try next:",
            *(f"  {command:<{width}}  {what}" for command, what in commands),
        ]
    )
