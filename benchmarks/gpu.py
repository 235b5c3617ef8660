"""Everything that needs a GPU, in one command of ten minutes: what has to be right first, then the figures.

    PYTHONPATH=src python benchmarks/gpu.py                 # on a GPU: published geometries; writes docs/gpu.md
    PYTHONPATH=src python benchmarks/gpu.py --out gpu.md --small    # the same commands on any machine, tiny models

Models have random weights; no download. Each part is a benchmark or test of its own, run in a process of its own; one
that fails is printed with its error, and the exit status is 1.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from geometry import save_writer
from train_throughput import CACHED, STOCK, machine

HERE = Path(__file__).parent
ROOT = HERE.parent


class Part(NamedTuple):
    """A heading, what has to hold or is measured, and the command."""

    title: str
    text: str
    command: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/gpu.md")
    parser.add_argument("--small", action="store_true", help="tiny models, on any machine")
    args = parser.parse_args()
    import torch

    if not args.small and not torch.cuda.is_available():
        parser.error("no usable GPU; --small runs the same commands with tiny models")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    title = f"# Measured on {torch.cuda.get_device_name() if torch.cuda.is_available() else 'a CPU'}"
    command = f"`python benchmarks/gpu.py{' --small' if args.small else ''}`"
    lines, failed = (
        [title, f"{machine()}; {command} at commit {commit.stdout.strip() or 'unknown'}. Random weights."],
        0,
    )
    with tempfile.TemporaryDirectory() as temporary:
        for part in parts(args.small, Path(temporary)):
            started = time.perf_counter()
            done = subprocess.run(part.command, cwd=ROOT, capture_output=True, text=True)
            failed += done.returncode != 0
            said = done.stdout
            if done.returncode:  # pytest tells on standard output what failed
                said = f"FAILED, exit {done.returncode}:\n\n```\n{(done.stdout + done.stderr)[-3000:]}\n```"
            shown = " ".join(word.replace(f"{temporary}/", "") for word in part.command[1:])
            lines += [
                f"## {part.title}", part.text, f"`python {shown}` ({time.perf_counter() - started:.0f} s)", said.strip()
            ]  # fmt: skip
            args.out.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
            print(f"{part.title}: {'failed' if done.returncode else 'done'}", flush=True)
    print(f"written to {args.out}")
    sys.exit(1 if failed else 0)


def parts(small: bool, folder: Path) -> list[Part]:
    """Return what is run, the correctness first."""
    writer = folder / "writer"
    save_writer(writer, published=not small)
    geometry = ["--geometry", "tiny", "--image-tokens", "16"] if small else ["--geometry", "llava-gemma-2b"]
    few = ["--contenders", STOCK, CACHED, "--steps", "2"] if small else []
    python: Callable[..., list[str]] = lambda name, *options: [sys.executable, str(HERE / name), *options]  # noqa: E731
    dtypes = ["float32"] if small else ["bfloat16", "float16"]
    writing = ["--images", "2", "--batch-size", "2"] if small else ["--4bit", "--dtype", "float16", "--images", "16"]
    found = [
        Part(
            "What has to be right",
            "Tests marked `gpu`: float16 trains with the card's own loss scaler; a training that is killed goes on to "
            "the losses of one that was not.",
            [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--no-header", "-p", "no:cacheprovider"],
        )
    ]
    if small:
        found = []
    for dtype in dtypes:
        found.append(
            Part(
                f"Evaluation against the stock stack, {dtype}",
                "Correctness: greedy answers and log-probabilities against a sequence for each prompt and option.",
                python("eval_throughput.py", *geometry, "--dtype", dtype, "--images", "1"),
            )
        )
        found.append(
            Part(
                f"Training against TRL, {dtype}",
                "Correctness: equal losses. 18 questions a step; the bar for peak memory is 8,900 MB.",
                python("train_throughput.py", *geometry, "--dtype", dtype, *few),
            )
        )
    found.append(
        Part(
            "Writing questions",
            "With the output schema and without, at the geometry of LLaVA-v1.6-Mistral-7B.",
            python("generating.py", "--base", str(writer), *writing, "--max-new-tokens", "200"),
        )
    )
    return found


if __name__ == "__main__":
    main()
