"""A storm of kills over all stages: does every output end with the bytes of an undisturbed run?

    PYTHONPATH=src nice python benchmarks/kill_storm.py [--kills 100] [--seed 1] [--finished DIR] [--stages train@...]

In a small copy of the project that has run once (made from the last commit; --finished: one that is there), each stage
in turn is started again and killed at a random moment: by SIGTERM or SIGKILL; of the stage, of DVC alone, or of both
and all that they started. After DVC alone the next is started at once, beside the orphan. Then the stage runs to its
end, the report after a `dvc repro`. The folder's name has a space and an umlaut. Compared with the undisturbed run: the
outputs' bytes, all files, runs of the MLflow store, processes left.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from abo_vqa.commands.dvc_state import mend

ROOT = Path(__file__).parents[1]
REDUCED = """
sample: {products: 80}
audit: {folds: 2}
train:
  {replicates: [1], epochs: 1, log_steps: 1, save_steps: 1, max_questions: 36, validation_questions: 9}
"""
# What a storm may change: caches, DVC's own state, the store, which is looked at by itself, and compiled files.
NOT_COMPARED = {".git", ".dvc", "mlruns", "mlflow.db", "__pycache__", "features"}
VICTIMS = ("stage", "dvc", "group")
USUAL = 30.0  # seconds of a stage until one was over before it was killed
LONGEST = 900  # seconds of one life; a stage that takes longer hangs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--finished", type=Path, help="a small project in which the pipeline has run; it is copied")
    parser.add_argument("--stages", nargs="+", help="only these")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no further kill after so long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        project, scratch = Path(temporary, "ein Stürmchen"), Path(temporary, "tmp")
        scratch.mkdir()
        if args.finished:
            # Without the store, which has the absolute paths of the other folder.
            shutil.copytree(
                args.finished, project, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlruns")
            )
        else:
            make(project)
        sys.exit(Storm(project, scratch, random.Random(args.seed)).run(args.kills, args.stages, args.seconds))


def make(project: Path) -> None:
    """Clone the last commit, make it small, and run it."""
    overrides = project.with_name("reduced.yaml")
    overrides.write_text(REDUCED)
    for command in (
        f'git clone -q "{ROOT}" "{project}"',
        "git config user.email storm@example.invalid && git config user.name storm",
        f'PYTHONPATH=src "{sys.executable}" -m abo_vqa.commands.app preset "{overrides}" && git commit -qam small',
        f'"{sys.executable}" -m dvc repro',
    ):
        folder = project if project.exists() else ROOT
        subprocess.run(command, shell=True, cwd=folder, env=environment(project), check=True, stdout=subprocess.DEVNULL)


def environment(project: Path, **more: str) -> dict[str, str]:
    """Return the environment of DVC and its stages: this interpreter, and the processor's fastest kernels."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DVC_ROOT")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "MKL_CBWR": "AUTO", "HF_HUB_OFFLINE": "1"} | more


class Storm:
    """The kills in one project."""

    def __init__(self, project: Path, scratch: Path, rng: random.Random) -> None:
        self.project, self.scratch, self.rng = project, scratch, rng
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.usual = USUAL

    def run(self, kills: int, only: list[str] | None, seconds: float) -> int:
        """Kill `kills` times, evenly over the stages; print what was found, and return the exit status."""
        # DVC keeps those of training seeds that are gone in dvc.lock.
        listed = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
        known = subprocess.run(listed, cwd=self.project, env=environment(self.project), check=True, capture_output=True)
        stages = [stage for stage in known.stdout.decode().split() if not only or stage in only]
        files, versions, ends = self.files(), self.versions(), time.monotonic() + seconds
        for place, stage in enumerate(stages):
            killed, self.usual = 0, USUAL
            each = kills * (place + 1) // len(stages) - kills * place // len(stages)
            while killed < each and time.monotonic() < ends:
                killed += self.kill(stage)
            if not killed:
                continue
            self.finish(stage)
            changed = {path: digest for path, digest in self.files().items() if files.get(path) != digest}
            lost = files.keys() - self.files().keys()
            if changed or lost:
                self.problems.append(f"{stage}: other bytes {sorted(changed)}, lost {sorted(lost)}")
            print(f"{stage}: {killed} kills; {len(changed)} other, {len(lost)} lost", flush=True)
        self.look_at_the_store()
        if left := self.processes():
            self.problems.append(f"processes left: {left}")
        print(f"\n{dict(self.counts)}")
        print(f"versions of the registered model: {versions} before, {self.versions()} after")
        print(f"left in the folder for temporary files: {sorted(path.name for path in self.scratch.iterdir())}")
        print("\n".join(self.problems) or "every output has the bytes of the undisturbed run, and nothing is left")
        return bool(self.problems)

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        self.counts["mended"] += len(mend(self.project))
        command = [sys.executable, "-m", "dvc", "repro", *options]
        own = environment(self.project, TMPDIR=str(self.scratch))
        with self.project.with_name("log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.project, env=own, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def finish(self, stage: str) -> None:
        """Run a stage to its end."""
        alone = ["--force", "--single-item", stage]
        # The report lists the hashes of dvc.lock: of a mended one, those of the last commit until `dvc repro`.
        for options in [[], alone] if stage == "report" else [alone]:
            status = self.start(*options).wait(LONGEST)
            if status:
                log = self.project.with_name("log").read_text(errors="replace")
                raise SystemExit(f"{stage}: exit status {status} without a kill\n{log[-4000:]}")

    def kill(self, stage: str) -> bool:
        """Start a stage and kill a part of it; return whether it was not over before."""
        victim, number = self.rng.choice(VICTIMS), self.rng.choice((signal.SIGTERM, signal.SIGKILL))
        dvc = self.start("--force", "--single-item", stage)
        started = time.monotonic()
        ends = started + self.rng.uniform(0, self.usual)
        while time.monotonic() < ends and dvc.poll() is None:
            time.sleep(0.02)
        if dvc.poll() is not None:
            self.usual = time.monotonic() - started
            self.counts["was over before"] += 1
            return False
        children = psutil.Process(dvc.pid).children(recursive=True)
        stages = [process for process in children if is_stage(process)]
        self.counts[f"{number.name} {victim}"] += 1
        self.counts["while the stage ran" if stages else "while DVC worked"] += 1
        if victim == "group":
            os.killpg(dvc.pid, number)
        else:
            for process in stages if victim == "stage" and stages else [psutil.Process(dvc.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        dvc.wait(LONGEST)
        self.counts["orphans when the next began"] += bool(self.processes())
        return True

    def processes(self) -> list[int]:
        """Return the stages at work in the project."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if is_stage(process) and Path(process.cwd()) == self.project:
                    found.append(process.pid)
        return found

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of every file but those of NOT_COMPARED."""
        found = {}
        for folder, names, files in os.walk(self.project):
            names[:] = [name for name in names if name not in NOT_COMPARED]
            for path in (Path(folder, name) for name in files):
                # Its code dependencies are those of this storm's code, where --finished has an older one.
                if not path.name.startswith("mlflow.db") and path.name not in ("dvc.lock", "repro.log"):
                    found[str(path.relative_to(self.project))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def versions(self) -> int:
        if not (self.project / "mlflow.db").exists():
            return 0
        with sqlite3.connect(self.project / "mlflow.db") as store:
            [number] = store.execute("SELECT count(*) FROM model_versions").fetchone()
        return int(number)

    def look_at_the_store(self) -> None:
        """Count runs by status; none may be RUNNING, and none there twice of one stage and execution."""
        twice = (
            "SELECT stage.value, parent.value, count(*) FROM tags stage JOIN tags parent USING (run_uuid) "
            "WHERE stage.key = 'dvc.stage' AND parent.key = 'mlflow.parentRunId' GROUP BY 1, 2 HAVING count(*) > 1"
        )
        with sqlite3.connect(self.project / "mlflow.db") as store:
            statuses = dict(store.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
            doubled = store.execute(twice).fetchall()
        print(f"\nruns in MLflow: {statuses}")
        self.problems += [f"run of {stage} twice under {parent}" for stage, parent, _ in doubled]
        if "RUNNING" in statuses:
            self.problems.append(f"{statuses['RUNNING']} runs are RUNNING")


def is_stage(process: psutil.Process) -> bool:
    try:
        return any(part.startswith("abo_vqa.") and part.endswith(".stage") for part in process.cmdline())
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
