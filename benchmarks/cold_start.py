"""How long each stage takes before it does anything, and what it imports for that.

    PYTHONPATH=src python benchmarks/cold_start.py [--to-the-end] [--stages sample compare ...] [--json]

In a project where `dvc repro` has run. Time to first useful work: from the start of the process until the stage opens
its first input for reading (an archive in data/, a table, a report; params.yaml does not count). The probe sees it
because it wraps the functions of common/storage.py that all stages read with, and watches what is opened in data/.
A stage is stopped there; with --to-the-end it runs on, writes what it always writes, and what it imports after that
is listed, too. At last, `dvc repro` with nothing to do: three times, the quickest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# By stage, the room whose stage module it runs, and the arguments.
STAGES = {
    "sample": ["catalog"],
    "generate": ["generators"],
    "validate": ["questions"],
    "split": ["splits"],
    "audit": ["audit"],
    "train": ["training", "--model", "options-1"],
    "evaluate": ["inference", "--model", "options-1"],
    "score": ["metrics"],
    "compare": ["comparison"],
    "register": ["serving"],
    "report": ["report"],
}
# What costs a tenth of a second or more to import.
HEAVY = """
    accelerate bert_score bitsandbytes datasets great_expectations imagehash matplotlib mlflow pandas peft pyarrow scipy
    sklearn statsmodels torch transformers trl xgrammar
""".split()
READERS = ("read_table", "read_json_lines", "require")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--to-the-end", action="store_true")
    parser.add_argument("--repeats", type=int, default=1, help="the quickest start of so many counts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--probe", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        probe(*args.probe)
        return
    found = {name: measure(name, args.to_the_end, args.repeats) for name in args.stages}
    if args.json:
        print(json.dumps(found))
        return
    print("| stage | s to first read | imported by then |" + (" and later |" if args.to_the_end else ""))
    print("|---|--:|---|" + ("---|" if args.to_the_end else ""))
    for name, row in found.items():
        later = f" {', '.join(sorted(set(row['end']) - set(row['first'])))} |" if args.to_the_end else ""
        print(f"| {name} | {row['seconds']:.2f} | {', '.join(row['first'])} |{later}")
    print(f"\n`dvc repro` with nothing to do: {idle():.2f} s")


def measure(stage: str, to_the_end: bool, repeats: int) -> dict[str, Any]:
    """Return {seconds, first, end} of a stage: time to its first read, heavy modules there by then, and at its end."""
    runs = []
    for _ in range(repeats):
        with tempfile.NamedTemporaryFile() as file:
            probed = [
                sys.executable,
                __file__,
                "--probe",
                stage,
                str(time.monotonic()),
                file.name,
                str(int(to_the_end)),
            ]
            done = subprocess.run(probed, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "src"})
            found = [json.loads(line) for line in Path(file.name).read_text().splitlines()]
        if done.returncode or not found:
            sys.exit(f"{stage}: {done.stderr[-2000:]}")
        runs.append({"seconds": found[0]["seconds"], "first": found[0]["heavy"], "end": found[-1]["heavy"]})
    return min(runs, key=lambda run: run["seconds"])


def probe(stage: str, start: str, out: str, to_the_end: str) -> None:
    """Run a stage in this process; write a line of JSON at its first read, and one at its end."""
    import atexit
    import runpy

    # A child of a fork must not speak for the stage.
    own, seen = os.getpid(), []

    def tell() -> None:
        if os.getpid() == own:
            heavy = [name for name in HEAVY if name in sys.modules]
            with open(out, "a") as file:
                file.write(json.dumps({"seconds": time.monotonic() - float(start), "heavy": heavy}) + "\n")

    def on_read() -> None:
        if not seen:
            seen.append(True)
            tell()
            if not int(to_the_end):
                os._exit(0)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and not seen and str(given[0]).startswith("data/"):
            on_read()

    sys.addaudithook(hook)
    from abo_vqa.common import storage

    def watched(reader: Any) -> Any:
        def read(*given: Any, **named: Any) -> Any:
            on_read()
            return reader(*given, **named)

        return read

    for name in READERS:
        setattr(storage, name, watched(getattr(storage, name)))
    atexit.register(tell)
    room, *arguments = STAGES[stage]
    sys.argv = [stage, *arguments]
    runpy.run_module(f"abo_vqa.{room}.stage", run_name="__main__", alter_sys=True)


def idle() -> float:
    """Return the seconds that `dvc repro` takes when nothing has changed."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run(["dvc", "repro"], check=True, capture_output=True)
        times.append(time.monotonic() - started)
    return min(times)


if __name__ == "__main__":
    main()
