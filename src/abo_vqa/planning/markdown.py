"""The plan, and what was tried of it, as Markdown tables."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from abo_vqa.planning.cards import GIB, Card
from abo_vqa.planning.plan import Planned
from abo_vqa.planning.work import Work

if TYPE_CHECKING:
    from abo_vqa.planning.trial import Trial


def plan_markdown(planned: Planned, card: Card, work: Work) -> str:
    """Return the table, the totals, and where the figures come from."""
    rows = [
        {
            "stage": step.stage,
            "runs": step.runs,
            "peak memory": _gib(step.memory),
            "fits": "yes" if step.memory <= planned.usable else "no",
            "time each": _time(step.seconds),
            "disk": _size(step.disk * step.runs if step.stage == "train" else step.disk),
            "resumes": step.resumes,
            "computed for": step.note,
        }
        for step in planned.steps
    ]
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    total = sum(step.runs * step.seconds for step in planned.steps)
    counted = "counted in the run's tables" if work.measured else "computed from params.yaml"
    speed = f"{card.operations / 1e12:.3g} TFLOP/s ({card.source})"
    lines = [
        f"# Plan for {card.name}: {_gib(card.memory)}, {speed}",
        table,
        f"All runs one after another: {_time(total)}. Other stages need no card; on a CPU they take minutes.",
        f"Numbers of questions: {counted}. Memory: computed, without data. Time: computed at 30 % of the peak.",
    ]
    if planned.downloads:
        each = ", ".join(f"{name} {_size(size)}" for name, size in planned.downloads.items())
        lines.append(f"Downloads (computed: the weights in their published number format): {each}.")
    free, needed = shutil.disk_usage(Path.cwd()).free, sum(planned.downloads.values())
    if free < needed:
        lines.append(f"The disk has {_size(free)} left, less than the downloads.")
    if any(step.memory > planned.usable for step in planned.steps):
        lines.append(
            "What does not fit: lower train.tokens_per_pass, set train.packing: image or train.gradient_checkpointing: "
            "true; for evaluate lower evaluate.tokens_per_pass; for generate lower generate.vlm.batch_size."
        )
    return "\n\n".join(lines)


def trials_markdown(trials: "Sequence[Trial]") -> str:
    """Return what was measured of each stage, and the hours of the whole run that follow from it."""
    rows = [
        {
            "stage": trial.stage,
            "tried": trial.did,
            "loading": f"{trial.loading:.1f} s",
            "took": f"{trial.seconds:.2f} s",
            "peak memory": _gib(trial.memory),
            "runs": trial.runs,
            "time each": _time(trial.loading + trial.seconds * trial.steps),
        }
        for trial in trials
    ]
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    total = _time(sum(trial.runs * (trial.loading + trial.seconds * trial.steps) for trial in trials))
    return f"# Tried on this machine (measured)\n\n{table}\n\nAll runs one after another, from these steps: {total}."


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(1, round(seconds / 60))} min"
