"""Clones of the project for tests that run real DVC commands."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from shlex import quote

import psutil
import pytest

# A float in the form that YAML 1.1 takes for text, and another of a stage whose outputs it does not change.
FADING = "-S arms.options.options_last=1e-5 -S validate.max_quarantined=0.8"


def environment() -> dict[str, str]:
    """Return a user's environment with this test's interpreter first on the path."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    # A user's Python writes compiled files beside the sources; the tests' may have been told not to.
    unset = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "DVC_ROOT", "MLFLOW_TRACKING_URI"}
    # The processor's fastest kernels: bytes are compared on one machine here, and the portable ones take twice as long.
    # A server of MLflow starts eight more processes for jobs that nobody here gives it.
    changed = {"PATH": path, "MKL_CBWR": "AUTO", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {name: value for name, value in os.environ.items() if name not in unset} | changed


def run(command: str, folder: Path, ok: bool = True) -> str:
    """Run a shell command in a folder; return everything it printed."""
    outcome = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment())
    said = outcome.stdout + outcome.stderr
    assert (outcome.returncode == 0) == ok, f"{command}: exit {outcome.returncode}\n{said[-6000:]}"
    return said


def start(command: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a command in a folder and return at once."""
    quiet = subprocess.DEVNULL
    # In the shell's place, so that its death is seen by kill(): DVC takes the lock of a dead process for its own.
    return subprocess.Popen(f"exec {command}", shell=True, cwd=folder, stdout=quiet, stderr=quiet, env=environment())


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and everything it started, without a warning."""
    parent = psutil.Process(process.pid)
    # DVC first: it would see its stage die, and be killed while it rewrites its lock file, which it then cannot read.
    for each in [parent, *parent.children(recursive=True)]:
        each.kill()
    process.wait()


def clone_project(root: Path, folder: Path) -> Path:
    """Clone the project into `folder`, with what is not committed yet, and commit that there."""
    run(f"git clone -q {root} {quote(str(folder))}", root)
    run("git config user.email test@example.invalid && git config user.name test", folder)
    for name in run("git ls-files -m -o --exclude-standard", root).splitlines():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    commit(folder, "as it stands")
    return folder


def copy_project(source: Path, folder: Path) -> Path:
    """Copy a clone with its cache, its results and its MLflow store, whose paths are made to lead to the copy."""
    shutil.copytree(source, folder, symlinks=True)
    with sqlite3.connect(folder / "mlflow.db") as store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in store.execute(f"pragma table_info('{table}')").fetchall():
                if kind.upper().startswith(("VARCHAR", "TEXT")):
                    moved = f'update "{table}" set "{column}" = replace("{column}", ?, ?) where "{column}" like ?'
                    store.execute(moved, (str(source), str(folder), f"%{source}%"))
    return folder


def commit(folder: Path, message: str) -> None:
    """Commit everything in the folder."""
    run(f"git add -A && git commit -q --allow-empty -m '{message}'", folder)


def scale(folder: Path, overrides: Path) -> None:
    """Apply a file of overrides to the clone's params.yaml and commit it."""
    run(f"abo-vqa preset {overrides}", folder)
    commit(folder, f"scale {overrides.name}")


def stages_run(output: str) -> list[str]:
    """Return the stages that DVC says it ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def experiment(folder: Path, name: str) -> str:
    """Return the commit of an experiment, empty until it is there."""
    return run(f"git for-each-ref --format='%(objectname)' 'refs/exps/*/*/{name}'", folder).strip()


def chromium() -> str:
    """Return the path of an installed Chromium; skip the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or pytest.skip("no Chromium on this machine; install Debian's package chromium")
