"""Compare the models: accuracies under every condition, and the planned differences between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.common.layout import RANKED
from abo_vqa.common.params.measure import CompareParams, ConditionParams, counterparts
from abo_vqa.common.params.model import ArmParams
from abo_vqa.common.schema import MATCHED, OPEN, OPTIONS, TEST
from abo_vqa.comparison.differences import READ_LENIENTLY, Answers, Pair, rounded
from abo_vqa.comparison.text_only import against_text_only
from abo_vqa.comparison.verdict import verdict

Json = dict[str, Any]
Summary = Mapping[str, Mapping[str, Any]]
Conditions = Mapping[str, ConditionParams]


def compare(
    predictions: Mapping[str, pd.DataFrame],
    summaries: Mapping[str, Summary],
    runs: Mapping[str, Sequence[str]],
    conditions: Conditions,
    arms: Mapping[str, ArmParams],
    audit: Mapping[str, Any],
    settings: CompareParams,
    seed: int,
) -> Json:
    """Return the content of reports/comparison.json, verdict included.

    predictions: by trained model, each as metrics.answers.score_answers returns them; summaries: the same, as
    metrics.answers.summarize returns them. runs: the trained models of base and of every arm, in one order of training
    seeds. conditions: the experiment's with all counterparts; those without predictions are left out. audit: as
    audit.audit.audit returns it for the same questions. seed: the run's, which is only passed on. Intervals and tests
    take questions of an image_group as correlated. Raises InputError if two models answered different questions.
    """
    answers = Answers({name: [predictions[run] for run in of] for name, of in runs.items()}, settings.confidence)
    asked = [name for name in conditions if name in answers.conditions]
    results = {name: _results(name, of, summaries, answers, asked) for name, of in runs.items()}
    planned = [Pair(p.first, p.second, c, c) for p in settings.planned for c in p.conditions if c in asked]
    looking = [Pair(name, name, c, other) for name in runs for c in asked for other in counterparts(c, asked).values()]
    beyond = [
        Pair(pair.first, pair.second, pair.condition, other)
        for pair in planned
        for other in counterparts(pair.condition, asked).values()
    ]

    def family(pairs: Sequence[Pair], column: str = "correct") -> list[Json]:
        return answers.family([answers.difference(pair, *answers.values(pair, column)) for pair in pairs])

    first = next(iter(predictions.values()))
    comparison: Json = {
        "models": list(runs),
        "runs": {name: list(of) for name, of in runs.items()},
        "inconclusive": answers.inconclusive,
        "conditions": asked,
        "confidence": settings.confidence,
        "seed": seed,
        "questions": int(first["qa_id"].nunique()),
        "images": int(first["image_id"].nunique()),
        "results": results,
        "by_run": {
            run: {c: rounded({"accuracy": summaries[run][c]["total"]["accuracy"]})["accuracy"] for c in asked}
            for of in runs.values()
            for run in of
        },
        "above_text_only": _above_text_only(results, conditions, audit, settings),
        "differences": family(planned),
        "ranked_differences": family(planned, RANKED),
        "lenient_differences": family(planned, READ_LENIENTLY),
        "without_a_type": _without_a_type(planned, answers),
        "image_gains": family(looking),
        "gains_beyond": answers.family(
            [answers.difference(pair, *answers.gains_beyond(pair), bound=2.0) for pair in beyond]
        ),
        "with_and_without": [
            {"model": pair.first, "condition": pair.condition, "against": pair.against, **_two_by_two(pair, answers)}
            for pair in looking
        ],
        "audit": dict(audit),
    }
    return comparison | {"verdict": verdict(comparison, conditions, arms, settings)}


def flat_metrics(comparison: Mapping[str, Any], validation: Mapping[str, float | None]) -> Json:
    """Return the metrics of `dvc metrics`: {model: {"condition/accuracy": mean over runs, "condition/deviation"}}.

    validation: accuracies by arm, added as "validation/accuracy". Accuracies without counterparts only: each further
    metric would add a column per model and condition to `dvc exp show`.
    """
    found: Json = {}
    for model, conditions in comparison["results"].items():
        row: Json = {}
        for condition in (name for name in conditions if "/" not in name):
            total = conditions[condition]["total"]
            row[f"{condition}/accuracy"] = total["accuracy"]
            if total["deviation"] is not None:
                row[f"{condition}/deviation"] = total["deviation"]
        if (known := validation.get(model)) is not None:
            row["validation/accuracy"] = rounded({"": known})[""]
        found[model] = row
    return found


def accuracies(comparison: Mapping[str, Any]) -> list[Json]:
    """Return the bars of `dvc plots`: one row per condition and model with its accuracy in percent."""
    results = comparison["results"]
    return [
        {"asked": f"{condition}: {model}", "accuracy": round(100 * results[model][condition]["total"]["accuracy"], 2)}
        for condition in comparison["conditions"]
        if "/" not in condition
        for model in comparison["models"]
    ]


def audited_as(shown: ConditionParams) -> str | None:
    """Return the audit's condition with the same text; None if there is none.

    For rotated and shuffled options it is `options`, where a text-only baseline must be right in one order only, which
    is no harder. Another wording has the same answers and options.
    """
    if shown.question == "none":
        return None
    if shown.options == "none":
        return OPEN
    if shown.options == "matched":
        return MATCHED
    return OPTIONS if shown.options == "given" and shown.count is None else None


def _results(
    name: str, runs: Sequence[str], summaries: Mapping[str, Summary], answers: Answers, asked: Sequence[str]
) -> Json:
    """Return a model's metrics, means over its runs, with intervals: in total, by type and by position."""
    found = {}
    for condition in asked:
        tables, groups = answers.runs(name, condition), [summaries[run][condition] for run in runs]
        kinds, places = tables[0]["question_type"], tables[0]["answer_index"]
        found[condition] = {
            "total": _mean([group["total"] for group in groups], answers.accuracy(name, condition)),
            "by_type": {
                kind: _mean(
                    [group["by_type"][kind] for group in groups], answers.accuracy(name, condition, kinds == kind)
                )
                for kind in groups[0]["by_type"]
            },
            "by_position": {
                place: _mean(
                    [group["by_position"][place] for group in groups],
                    answers.accuracy(name, condition, places == int(place)),
                    picked=float(np.mean([(table["picked"] == int(place)).mean() for table in tables])),
                )
                for place in groups[0]["by_position"]
            },
        }
    return found


def _mean(rows: Sequence[Mapping[str, float]], interval: Json, **more: float) -> Json:
    means = {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0] if metric != "n"}
    return rounded({"n": rows[0]["n"], **means, **interval, **more})


def _above_text_only(
    results: Mapping[str, Json], conditions: Conditions, audit: Mapping[str, Any], settings: CompareParams
) -> Json:
    def row(condition: str, total: Mapping[str, float]) -> Json | None:
        known = audited_as(conditions[condition])
        if known is None or known not in audit[TEST]:
            return None
        return {"audited_as": known, **against_text_only(dict(total), audit, known, settings.max_blind.get(known))}

    found = {name: {c: row(c, group["total"]) for c, group in groups.items()} for name, groups in results.items()}
    return {name: {c: value for c, value in rows.items() if value} for name, rows in found.items()}


def _without_a_type(planned: Sequence[Pair], answers: Answers) -> list[Json]:
    """Return every planned difference with one question type left out, for each type in turn."""
    rows = []
    for pair in planned:
        kinds = sorted(answers.runs(pair.first, pair.condition)[0]["question_type"].unique())
        for kind in kinds if len(kinds) > 1 else ():
            row = answers.difference(pair, *answers.values(pair, without=kind))
            names = ("first", "second", "condition", "n", "estimate", "low", "high", "p", "unsaid")
            rows.append(rounded({"without": kind, **{name: row[name] for name in names}}))
    return rows


def _two_by_two(pair: Pair, answers: Answers) -> Json:
    """Return the shares of questions right with both, one or neither image, in total and by type, means over runs."""
    shown, other = answers.runs(pair.first, pair.condition), answers.runs(pair.first, pair.against)
    index = shown[0].index.intersection(other[0].index)
    one, two = (np.stack([t.loc[index, "correct"].to_numpy(bool) for t in tables]) for tables in (shown, other))
    kinds = shown[0].loc[index, "question_type"].to_numpy()

    def shares(chosen: Any) -> Json:
        a, b = one[:, chosen], two[:, chosen]
        cells = {"both": a & b, "only_with": a & ~b, "only_without": ~a & b, "neither": ~a & ~b}
        return {"n": int(a.shape[1]), **rounded({name: float(cell.mean()) for name, cell in cells.items()})}

    by_type = {kind: shares(kinds == kind) for kind in sorted(set(kinds))}
    return {"total": shares(np.ones(len(index), bool)), "by_type": by_type}
