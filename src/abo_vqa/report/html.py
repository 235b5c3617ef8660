"""The report: one self-contained HTML file, from the answer to the provenance."""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from abo_vqa.common.params.measure import counterparts
from abo_vqa.common.schema import SPLITS
from abo_vqa.common.words import normalize
from abo_vqa.comparison.words import IMAGES, headlines, in_words
from abo_vqa.report import tables

# From the paper's section 4.1 and Table 4, in percent: the printed totals, and the count-weighted means of the rows by
# question type, which differ.
PAPER_TOTALS = (
    {"model": "base, without options", "printed": 61.29, "rows": 62.96},
    {"model": "tuned, with options", "printed": 66.63, "rows": 68.16},
)

# Rows of the training table: key, title, format, and the paper's value (its Table 5).
RESOURCES = (
    ("parameters", "parameters", "{:,}", "2,838,077,440"),
    ("trainable_parameters", "of them trained", "{:,}", "21,970,944"),
    ("trainable_share", "share trained", "{:.2%}", "0.77%"),
    ("questions", "training questions", "{:,}", ""),
    ("steps", "optimizer steps", "{:,}", ""),
    ("validation_accuracy", "validation accuracy", "{:.1%}", ""),
    ("clipped_share", "steps clipped", "{:.0%}", ""),
)

_WRONG_ANSWERS = 2  # of a model to a question, in the gallery

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Provenance:
    """Inputs of the report; equal on every machine that reproduces it.

    data: md5 by path, of everything that DVC tracks; versions: by package; parameters: the text of params.yaml.
    """

    data: Mapping[str, str]
    versions: Mapping[str, str]
    parameters: str


def render_report(
    comparison: Row,
    training: Mapping[str, Row],
    figures: Mapping[str, bytes],
    gallery: Sequence[Row],
    provenance: Provenance,
    labels: Mapping[str, Any],
    explained: Mapping[str, str],
    planned: Sequence[str],
    splits: Mapping[str, Row],
) -> str:
    """Return the report as HTML.

    comparison: as comparison.compare.compare returns it. training: outcomes by trained model. figures: SVG files by
    name: forest, curves, calibration, confusion, audit; missing ones are left out. gallery: as `pick_gallery` returns
    it. labels: reports/validation.json, with the answers that contradict the listings and, if asked for, the
    second opinions that agree, by question type. explained: what each condition shows. planned: the conditions of
    planned comparisons. splits: reports/split.json.
    """
    # Names and answers may hold HTML, links and images of their own; the report's Markdown has none.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"])
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "markdown": lambda text: Markup(markdown.render(text)),
        "inline": lambda text: Markup(markdown.renderInline(text.replace(" %", "\N{NO-BREAK SPACE}%"))),
        "base64": lambda content: base64.b64encode(content).decode(),
        "percent": _percent,
        "span": tables.span,
        "capital": lambda text: text[:1].upper() + text[1:],
        "answer_class": _answer_class,
        "first_part": lambda answer: answer.split(",")[0],
    }
    asked = comparison["conditions"]
    found = {name: counterparts(name, asked) for name in asked}
    places = {
        str(asked.index(name)): {kind: asked.index(other) for kind, other in others.items()}
        for name, others in found.items()
    }
    return environment.get_template("report.html.jinja").render(
        comparison=comparison,
        headlines=headlines(comparison),
        example=pick_example(gallery, planned),
        explained=explained,
        planned=planned,
        words=in_words(comparison),
        images=IMAGES,
        counterparts=[name for places in found.values() for name in places.values()],
        counterpart_places=places,
        replicates=max(map(len, comparison["runs"].values())),
        training=training,
        figures=figures,
        gallery=gallery,
        provenance=provenance,
        paper=PAPER_TOTALS,
        resources=RESOURCES,
        tables=tables,
        labels=labels["against_listings"],
        opinions=labels.get("second_opinion", {}),
        splits={split: splits[split] for split in SPLITS},
    )


def pick_gallery(
    questions: Iterable[Row],
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    images: Mapping[str, bytes],
    count: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return `count` images, drawn with the seed, with all their questions and every model's answers.

    questions: of the test split. predictions: by model, one table per training run. Each image has `image` (encoded
    bytes), `image_id`, `path` and `questions`; each question has its fields and `answers`: by condition, the options if
    they differ from the given ones, and by model whether most of its runs are right, how many are, and the others'
    wrong answers, the most frequent first.
    """
    by_image: dict[str, list[Row]] = {}
    for row in questions:
        by_image.setdefault(row["image_id"], []).append(row)
    chosen = sorted(Random(seed).sample(sorted(by_image), min(count, len(by_image))))
    said: dict[tuple[str, str, str], list[Any]] = {}
    for model, runs in predictions.items():
        for run in runs:
            for answer in run[run["image_id"].isin(set(chosen))].to_dict("records"):
                said.setdefault((answer["qa_id"], answer["condition"], model), []).append(answer)
    conditions = list(dict.fromkeys(condition for _, condition, _ in said))
    return [
        {
            "image": images[image_id],
            "image_id": image_id,
            "path": by_image[image_id][0]["image_path"],
            "questions": [
                _shown(row, conditions, list(predictions), said)
                for row in sorted(by_image[image_id], key=lambda row: str(row["question_type"]))
            ],
        }
        for image_id in chosen
    ]


def pick_example(gallery: Sequence[Row], conditions: Sequence[str]) -> Row | None:
    """Return the gallery's first question on which the models differ under one of the conditions, with its image.

    The first question if they never differ; None without any.
    """
    pairs = [(card, row) for card in gallery for row in card["questions"]]

    def differ(row: Row) -> bool:
        asked = [answer["by_model"] for name, answer in row["answers"].items() if name in conditions]
        return any(len({one["right"] for one in of.values()}) > 1 for of in asked)

    chosen = next((pair for pair in pairs if differ(pair[1])), pairs[0] if pairs else None)
    return None if chosen is None else {"image": chosen[0]["image"], "image_id": chosen[0]["image_id"], **chosen[1]}


def _shown(
    row: Row, conditions: Sequence[str], models: Sequence[str], said: Mapping[tuple[str, str, str], Sequence[Row]]
) -> dict[str, Any]:
    answers = {}
    for condition in conditions:
        found = {model: said.get((row["qa_id"], condition, model)) for model in models}
        there = {model: answer for model, answer in found.items() if answer is not None}
        if not there:
            continue
        first = next(iter(there.values()))[0]
        options = list(first["options"]) if first["shown"] and set(first["options"]) != set(row["options"]) else None
        answers[condition] = {
            "options": options,
            "by_model": {model: _of_runs(rows) for model, rows in there.items()},
        }
    return {name: row[name] for name in ("qa_id", "question_type", "question", "options", "answer")} | {
        "answers": answers
    }


def _of_runs(rows: Sequence[Row]) -> dict[str, Any]:
    right = sum(bool(row["correct"]) for row in rows)
    # Under a condition with several orders of the options, a run may give a wrong answer in some of them only.
    answers = [normalize(text) for row in rows if not row["correct"] for text in row["generated"]]
    wrong = Counter(text or "no answer" for text in answers if text != rows[0]["gold"])
    return {
        "right": 2 * right > len(rows),
        "some": bool(right),
        "count": f"{right}/{len(rows)}" if len(rows) > 1 else "",
        "wrong": [text for text, _ in wrong.most_common(_WRONG_ANSWERS)],
    }


def _percent(share: float, digits: int = 0) -> str:
    return tables.percent(share, digits).replace(" ", "\N{NO-BREAK SPACE}")


def _answer_class(answer: str) -> str:
    """Return the CSS class of a verdict's answer."""
    return answer if answer in ("yes", "no") else "open"
