"""Markdown table of models and conditions for `abo-vqa evaluate`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from abo_vqa.commands.prediction_table import RESCALED
from abo_vqa.commands.question_sets import Row
from abo_vqa.metrics.answers import summarize
from abo_vqa.statistics.display import markdown_table, percent, plain
from abo_vqa.statistics.intervals import cluster_interval

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
NONE = "-"  # a figure that does not exist
_HEADS = (
    "model", "condition", "n", "accuracy", "95 % interval", "ranked", "unparsable", "chance", "macro-F1",
    "BERTScore F1", "rescaled", "ECE",
)  # fmt: skip


def render(predictions: "pd.DataFrame", rows: Sequence[Row], problems: Sequence[str], encoder: str) -> str:
    """Return models x conditions as a Markdown table, followed by notes.

    predictions: as score_answers returns them, with the column model and perhaps RESCALED. Where a set has questions
    with and without options, each kind has a line of its own. encoder: BERTScore's, as a person knows it.
    """
    lines = []
    for model, table in predictions.groupby("model", sort=False):
        for condition, part in table.groupby("condition", sort=False):
            lines += [[str(model), *_line(name, kind)] for name, kind in _kinds(str(condition), part)]
    return "\n\n".join([markdown_table(_HEADS, lines), *_notes(predictions, rows, problems, encoder)])


def _kinds(condition: str, part: "pd.DataFrame") -> Iterator[tuple[str, "pd.DataFrame"]]:
    """Yield a condition's questions with their name, those with and without options apart where there are both."""
    has = part["options"].map(len) > 0
    yield condition, part if has.all() or not has.any() else part[has]
    if has.any() and not has.all():
        yield f"{condition}, no options", part[~has]


def _line(name: str, part: "pd.DataFrame") -> list[str]:
    [group] = summarize(part).values()
    total = group["total"]
    found = cluster_interval(part["correct"], part["image_group"].to_list(), CONFIDENCE)
    span = f"{100 * found.low:.1f} to {100 * found.high:.1f}"
    shares = [
        percent(total[key], 1) if key in total else NONE for key in ("accuracy", "ranked", "unparsable", "chance")
    ]
    scores = [f"{total[key]:.3f}" for key in ("macro_f1", "bertscore_f1")]
    scores.append(f"{part[RESCALED].mean():.3f}" if RESCALED in part else NONE)
    scores.append(f"{total['ece']:.3f}" if "ece" in total else NONE)
    return [name, str(total["n"]), shares[0], span, *shares[1:], *scores]


def _notes(predictions: "pd.DataFrame", rows: Sequence[Row], problems: Sequence[str], encoder: str) -> Iterator[str]:
    with_options = [row for row in rows if row["options"]]
    images = len({row["image_id"] for row in rows})
    counted = f"{len(rows)} questions on {images} images"
    if with_options:
        first = sum(row["answer_index"] == 0 for row in with_options) / len(with_options)
        guess = f"always picking the first option is right in {percent(first, 1)}"
        yield f"{counted}; {guess}{'' if len(with_options) == len(rows) else ' of those with options'}."
    else:
        yield f"{counted}, all without options."
    if lacking := len(rows) - len(with_options):
        asked = (
            "asked under open only" if "open" in set(predictions["condition"]) else "not asked: add the condition open"
        )
        yield f"{lacking} of {len(rows)} questions have no options: {asked}; no ranking or chance for them."
    if RESCALED not in predictions:
        yield f"rescaled: bert-score has no baseline for {plain(encoder)} (it has one for roberta-large, layer 17)."
    if problems:
        yield f"{len(problems)} skipped: {plain('; '.join(problems[:3]))} ..."
