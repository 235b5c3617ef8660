"""`abo-vqa repro`: `dvc repro` with trainings and evaluations side by side."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from abo_vqa.commands.open_page import open_page
from abo_vqa.commands.project_option import Project, enter_project
from abo_vqa.commands.repro_output import LOGS, REPORT, Output, closing
from abo_vqa.common.errors import InputError
from abo_vqa.common.lifetime import LOCKS, TERMINATED

EXAMPLES = """
abo-vqa repro              # one training or evaluation per GPU; without a GPU, per CPU core
abo-vqa repro --jobs 1     # one after the other, as dvc repro
"""
# DVC takes its lock for seconds at a time; the stages themselves run without it.
DVC = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro"]


def main(
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Stages side by side. Default: GPUs, or CPU cores.", show_default=False),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open", help="Open the report, where there are a terminal, a display and a browser.")
    ] = False,
    project: Project = None,
) -> None:
    """Run the pipeline, several models side by side.

    The stages, their order and their results are those of `dvc repro`, whatever the number of jobs: only what has
    changed runs. With several GPUs every job gets its own. If a stage fails, no further one is started, and its whole
    output is printed; what the others print is kept in logs/repro/.
    """
    enter_project(project)
    from abo_vqa.commands.checkup import repository
    from abo_vqa.commands.dvc_state import mend
    from abo_vqa.common.layout import COMPARISON
    from abo_vqa.common.params import read_params
    from abo_vqa.common.tracking.process import PIPELINE
    from abo_vqa.model.base.devices import visible_gpus

    params, devices = read_params(), visible_gpus()
    number = jobs or len(devices) or os.cpu_count() or 1
    # All stages log to one pipeline run.
    os.environ[PIPELINE] = str(os.getpid())
    models = [model for arm in params.arms for model in params.runs_of(arm)]
    chains = [["audit"], ["evaluate_base"], *([f"train@{model}", f"evaluate@{model}"] for model in models)]
    for found in repository(Path.cwd()):
        if found.verdict == "wrong":
            raise InputError(f"{found.text}; {found.mend}")
    for line in mend(Path.cwd()):
        print(f"abo-vqa repro: {line}", file=sys.stderr)
    with _alone(), Output(number_of_stages(len(models))) as output, _stopping_together():
        _dvc(["split"], output)
        run_chains(chains, devices if number > 1 else [], number, output)
        _dvc([], output)
    print(closing(json.loads(COMPARISON.read_text(encoding="utf-8"))))
    if browser:
        open_page(REPORT)


def number_of_stages(models: int) -> int:
    """Return the number of the pipeline's stages; models: trained ones."""
    from ruamel.yaml import YAML

    stages = YAML(typ="safe", pure=True).load(Path("dvc.yaml"))["stages"]
    return sum(models if "matrix" in stage else 1 for stage in stages.values())


def run_chains(
    chains: Sequence[Sequence[str]], devices: Sequence[str], number: int, output: Output | None = None
) -> None:
    """Run the stages of every chain in order, and `number` chains side by side; devices: one GPU of each job's own.

    Raises SystemExit with the status of the first stage that fails, after the running ones have ended.
    """
    free, failed = deque(devices), Event()
    shown = output or Output(sum(map(len, chains)))

    def run(chain: Sequence[str]) -> None:
        own = free.popleft() if free else None
        try:
            for stage in chain:
                if not failed.is_set():
                    _dvc(["--single-item", stage], shown, own)
        except SystemExit:
            failed.set()
            raise
        finally:
            if own is not None:
                free.append(own)

    with ThreadPoolExecutor(number) as pool:
        started = [pool.submit(run, chain) for chain in chains]
        try:
            wait(started)
        except BaseException:  # told to stop
            failed.set()
            _stop()
            raise
    for future in started:
        future.result()


def _dvc(arguments: Sequence[str], output: Output, device: str | None = None) -> None:
    # Unbuffered, so that a killed stage's last lines are kept.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"} | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})
    log = LOGS / f"{arguments[-1] if arguments else 'rest'}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A file, not a pipe: a stage that outlives a killed command can go on printing.
    with log.open("wb") as written:
        # A session of its own, so that DVC and the stage that it runs can be stopped together.
        process = subprocess.Popen(
            [*DVC, *arguments], env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
        )
    _running.add(process)
    status = output.follow(process, log, _stopped)
    _running.discard(process)
    if status:
        print(f"abo-vqa repro: dvc repro {' '.join(arguments)} failed with status {status}", file=sys.stderr)
        raise SystemExit(status)


_running: set["subprocess.Popen[bytes]"] = set()
_stopped = Event()


def _stop() -> None:
    _stopped.set()
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


@contextmanager
def _alone() -> Iterator[None]:
    """Lock the project against a second command, at whose stages DVC would fail; InputError names the first."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    path = LOCKS / "repro.lock"
    try:
        with FileLock(path, timeout=0):
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
            yield
    except Timeout:
        owner = path.read_text(encoding="ascii").strip()
        raise InputError(f"process {owner} runs the pipeline here already; wait for it to end, or end it") from None


@contextmanager
def _stopping_together() -> Iterator[None]:
    """Stop DVC and its stages if the block is left by Ctrl-C or SIGTERM: an orphaned stage would go on writing."""
    _stopped.clear()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        _stop()
