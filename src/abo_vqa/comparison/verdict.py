"""Compute the verdict as data: what training changed, and whether the text alone could explain it.

A planned difference is a gain ("yes") only if its interval excludes zero, its p, Holm-adjusted over all planned ones,
is small, and _objections finds no sign that it arises without the image. A difference that is not significant is "not
shown"; fewer than three runs of each of two ways of training are inconclusive. `words` renders the text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abo_vqa.common.params.measure import CompareParams, ConditionParams
from abo_vqa.common.params.model import BASE, ArmParams
from abo_vqa.comparison.training import FEWEST_REPLICATES
from abo_vqa.comparison.words import (
    ABOVE,
    BEYOND,
    EVERY_ORDER,
    HOLDS,
    LOOKS,
    NO,
    NOT_SHOWN,
    OPTIONS_SHOWN,
    OTHER,
    RANKED,
    TRAINING,
    UNSAID,
    YES,
)

# Counterparts without which no gain is claimed, and the share of the condition's questions that each has to cover.
NEEDED = ("blank", "other")
LEAST_COVERED = 0.9

Json = dict[str, Any]
Conditions = Mapping[str, ConditionParams]


def verdict(
    comparison: Mapping[str, Any], conditions: Conditions, arms: Mapping[str, ArmParams], settings: CompareParams
) -> Json:
    """Return {"questions": [{code, parts: [{first, second, condition, against, planned, answer, reasons}]}], "limits"}.

    comparison: the result of comparison.compare.compare without the verdict; conditions, arms, settings: of
    params.yaml. An answer is yes, no, not shown or unsaid; reasons: why it is unsaid, each with a code and its figures.
    limits: codes of the run's limitations.
    """
    planned = _planned(comparison, conditions, settings)
    checks = {name for name, shown in conditions.items() if _is_check(shown)}
    gained = {
        (part["first"], part["second"]) for part in planned if part["answer"] == YES and part["condition"] not in checks
    }
    groups: dict[str, list[Json]] = {TRAINING: [], OPTIONS_SHOWN: [], OTHER: [], HOLDS: []}
    for part in planned:
        first, second = part["first"], part["second"]
        if part["condition"] not in checks:
            groups[_question(first, second, arms)].append(part)
            continue
        if (first, second) not in gained and part["answer"] in (YES, NOT_SHOWN):
            part |= {"answer": UNSAID, "reasons": [{"code": "no gain to hold"}]}
        groups[HOLDS].append(part)
    groups[BEYOND] = [_covered(row, comparison) for row in comparison["gains_beyond"] if row["condition"] not in checks]
    groups[RANKED] = [_part(row) for row in comparison["ranked_differences"] if row["condition"] not in checks]
    groups[ABOVE] = list(_above(comparison, conditions))
    groups[LOOKS] = [_covered(row, comparison) for row in comparison["image_gains"]] or [
        _model_part("", "", UNSAID, [{"code": "no counterparts"}])
    ]
    groups[EVERY_ORDER] = list(_every_order(comparison, conditions))
    fewest = min((len(of) for name, of in comparison["runs"].items() if name != BASE), default=0)
    return {
        "questions": [{"code": code, "parts": parts} for code, parts in groups.items() if parts],
        "limits": [{"code": "few runs" if fewest < FEWEST_REPLICATES else "runs", "replicates": fewest}],
    }


def _question(first: str, second: str, arms: Mapping[str, ArmParams]) -> str:
    if second == BASE:
        return TRAINING
    shows = [name in arms and arms[name].options_first + arms[name].options_last > 0 for name in (first, second)]
    return OPTIONS_SHOWN if shows == [True, False] and first != BASE else OTHER


def _is_check(shown: ConditionParams) -> bool:
    """Return whether a gain under the condition checks one under another, as for `matched` and `circular`."""
    return shown.options == "matched" or shown.order == "rotated"


def _planned(comparison: Mapping[str, Any], conditions: Conditions, settings: CompareParams) -> list[Json]:
    found = {(row["first"], row["second"], row["condition"]): row for row in comparison["differences"]}
    parts = []
    for planned in settings.planned:
        for condition in planned.conditions:
            row = found.get((planned.first, planned.second, condition))
            if row is None:
                names = {"first": planned.first, "second": planned.second, "condition": condition, "against": condition}
                part = {**names, "answer": UNSAID, "reasons": [{"code": "not asked"}]}
            else:
                part = _part(row)
                if part["answer"] == YES and (objections := list(_objections(row, comparison, conditions))):
                    part |= {"answer": UNSAID, "reasons": objections}
            parts.append(part | {"planned": True})
    return parts


def _part(row: Mapping[str, Any]) -> Json:
    names = {name: row[name] for name in ("first", "second", "condition", "against")}
    if row["unsaid"]:
        return {**names, "planned": False, "answer": UNSAID, "reasons": [{"code": "runs", "text": row["unsaid"]}]}
    answer = {"better": YES, "worse": NO}.get(row["significant"], NOT_SHOWN)
    return {**names, "planned": False, "answer": answer, "reasons": []}


def _covered(row: Mapping[str, Any], comparison: Mapping[str, Any]) -> Json:
    """Return the part of a difference from a counterpart; one of few questions tells nothing of the others."""
    part, few = _part(row), _few_counterparts(row, comparison)
    return part | {"answer": UNSAID, "reasons": few} if few and part["answer"] == YES else part


def _few_counterparts(row: Mapping[str, Any], comparison: Mapping[str, Any]) -> list[Json]:
    asked = comparison["results"][row["first"]][row["condition"]]["total"]["n"]
    kind = row["against"].rpartition("/")[2]
    few = row["n"] < LEAST_COVERED * asked
    return [{"code": "few counterparts", "against": kind, "n": row["n"], "of": asked}] if few else []


def _model_part(model: str, condition: str, answer: str, reasons: Sequence[Json] = ()) -> Json:
    names = {"first": model, "second": model, "condition": condition, "against": condition}
    return {**names, "planned": False, "answer": answer, "reasons": list(reasons)}


def _objections(gain: Mapping[str, Any], comparison: Mapping[str, Any], conditions: Conditions) -> Iterable[Json]:
    """Yield why a significant gain could arise without the image, or from the form of the answers alone."""
    model, condition = gain["first"], gain["condition"]
    shown, total = conditions[condition], comparison["results"][model][condition]["total"]
    if shown.image != "shown" or shown.question == "none":
        yield {"code": "image hidden" if shown.image != "shown" else "question hidden"}
        return
    bound = comparison["above_text_only"][model].get(condition)
    if bound is None:
        yield {"code": "not audited"}
    elif bound["refused"]:
        yield {"code": "text-only limit", "text": bound["refused"]}
    elif not bound["above"]:
        yield {"code": "text only", "model": model, "text": bound["statement"]}
    if shown.options != "none" and total["low"] <= total["chance"]:
        yield {"code": "chance", "model": model, "chance": total["chance"]}
    for kind in NEEDED:
        against = f"{condition}/{kind}"
        if against not in comparison["conditions"]:
            yield {"code": "no counterpart", "against": kind}
            continue
        [looks] = _rows(comparison["image_gains"], model, model, condition, against)
        if looks["significant"] != "better":
            yield {"code": "does not look", "model": model, "against": against, **_figures(looks)}
        [beyond] = _rows(comparison["gains_beyond"], gain["first"], gain["second"], condition, against)
        yield from _few_counterparts(beyond, comparison)
        if beyond["significant"] != "better":
            yield {"code": "not beyond", "against": against, **_figures(beyond)}
    if shown.options != "none":
        for part in _every_order(comparison, conditions):
            if part["first"] == model and part["answer"] == NO:
                yield {"code": "position", "model": model, "condition": part["condition"]}
    [lenient] = _rows(comparison["lenient_differences"], gain["first"], gain["second"], condition, condition)
    # Together with the gain's own test, each check may be made at the plain level (intersection-union).
    if not lenient["low"] > 0:
        yield {"code": "form", **_figures(lenient)}
    for row in comparison["without_a_type"]:
        same = all(row[name] == gain[name] for name in ("first", "second", "condition"))
        if same and not row["low"] > 0:
            yield {"code": "one type", "type": row["without"], **_figures(row)}


def _rows(
    rows: Iterable[Mapping[str, Any]], first: str, second: str, condition: str, against: str
) -> list[Mapping[str, Any]]:
    wanted = (first, second, condition, against)
    return [row for row in rows if tuple(row[n] for n in ("first", "second", "condition", "against")) == wanted]


def _figures(row: Mapping[str, Any]) -> Json:
    return {name: row[name] for name in ("estimate", "low", "high")}


def _above(comparison: Mapping[str, Any], conditions: Conditions) -> Iterable[Json]:
    for model, rows in comparison["above_text_only"].items():
        for condition, row in rows.items():
            if conditions[condition].image != "shown":
                continue
            below = comparison["results"][model][condition]["total"]["high"] < row["low"]
            yield _of_runs(model, condition, YES if row["above"] else NO if below else NOT_SHOWN, comparison)


def _every_order(comparison: Mapping[str, Any], conditions: Conditions) -> Iterable[Json]:
    rotated = [
        name
        for name in comparison["conditions"]
        if conditions[name].order == "rotated" and conditions[name].image == "shown"
    ]
    if not rotated:
        yield _model_part("", "", UNSAID, [{"code": "no rotation"}])
    for model in comparison["models"] if rotated else ():
        for condition in rotated:
            total = comparison["results"][model][condition]["total"]
            above, below = total["low"] > total["chance"], total["high"] < total["chance"]
            yield _of_runs(model, condition, YES if above else NO if below else NOT_SHOWN, comparison)


def _of_runs(model: str, condition: str, answer: str, comparison: Mapping[str, Any]) -> Json:
    """Return a part about one model, unsaid if its training runs allow no interval."""
    if why := comparison["inconclusive"].get(model):
        return _model_part(model, condition, UNSAID, [{"code": "runs", "text": why}])
    return _model_part(model, condition, answer)
