"""Compute the verdict: what training changed, and whether the text alone could explain it.

A planned difference is a gain ("yes") only if its interval excludes zero, its p, Holm-adjusted over all planned ones,
is small, and _objection finds no sign that it arises without the image. A difference that is not significant is "not
shown".
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abo_vqa.common.params.measure import CompareParams, ConditionParams
from abo_vqa.common.params.model import BASE, ArmParams
from abo_vqa.statistics.display import percent, span

YES, NO, NOT_SHOWN, UNSAID = "yes", "no", "not shown", "cannot be said, because "

TRAINING = "Did training help?"
OPTIONS_SHOWN = "Did showing the options in training help?"
OTHER = "In the other planned comparisons, is the first model better?"
HOLDS = "Does a gain hold where the text does not reveal the answer, and in every order of the options?"
BEYOND = "Is a gain larger than the same models' difference with a blank image?"
RANKED = "Does a gain remain where the options are only ranked, so that the form of an answer does not matter?"
ABOVE = "Is each model above the best text-only baseline?"
LOOKS = "Does each model score higher with the image than with a blank one?"
EVERY_ORDER = "Is each model right in every order of the options more often than by chance?"

ONE_SEED = (
    "This is one training seed. Intervals and p values generalize to other questions and images like these, not to "
    "another training run; only several seeds show how much the seed matters (`abo-vqa sweep`)."
)

Json = dict[str, Any]
Conditions = Mapping[str, ConditionParams]


def verdict(
    comparison: Mapping[str, Any], conditions: Conditions, arms: Mapping[str, ArmParams], settings: CompareParams
) -> Json:
    """Return {"questions": [{question, answer, parts: [{about, condition, answer, statement}]}], "limits": text}.

    comparison: the result of comparison.compare.compare without the verdict; conditions, arms, settings: of
    params.yaml. An answer is yes, no, not shown, or "cannot be said, because ..."; a question's answer names the parts
    of each if they differ.
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
            part["answer"] = f"{UNSAID}no gain is shown where the options are as given"
        groups[HOLDS].append(part)
    groups[BEYOND] = [_part(row) for row in comparison["beyond_blank"] if row["condition"] not in checks]
    groups[RANKED] = [_part(row) for row in comparison["ranked_differences"] if row["condition"] not in checks]
    groups[ABOVE] = list(_above(comparison, conditions))
    groups[LOOKS] = list(_looks(comparison))
    groups[EVERY_ORDER] = list(_every_order(comparison, conditions))
    questions = [{"question": q, "answer": _together(parts), "parts": parts} for q, parts in groups.items() if parts]
    return {"questions": questions, "limits": ONE_SEED}


def label(model: str) -> str:
    """Return a model's name in a sentence."""
    return model if model == BASE else f"{model} arm"


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
        first, second = planned.first, planned.second
        for condition in planned.conditions:
            row = found.get((first, second, condition))
            if row is None:
                about, answer = f"{label(first)} − {label(second)}", f"{UNSAID}no test question is kept under it"
                part = {"about": about, "condition": condition, "answer": answer, "statement": ""}
            else:
                part = {**_part(row), "answer": _gain(row, comparison, conditions)}
            parts.append({"first": first, "second": second, "planned": True, **part})
    return parts


def _part(row: Mapping[str, Any]) -> Json:
    return {
        "about": f"{label(row['first'])} − {label(row['second'])}",
        "condition": row["condition"],
        "answer": {"better": YES, "worse": NO}.get(row["significant"], NOT_SHOWN),
        "statement": f"{_difference(row)}; detectable: {100 * row['detectable']:.1f}",
    }


def _gain(row: Mapping[str, Any], comparison: Mapping[str, Any], conditions: Conditions) -> str:
    if row["significant"] == "worse":
        return NO
    if row["significant"] != "better":
        return NOT_SHOWN
    objection = _objection(row, comparison, conditions)
    return UNSAID + objection if objection else YES


def _objection(gain: Mapping[str, Any], comparison: Mapping[str, Any], conditions: Conditions) -> str:
    """Return why a significant difference could arise without the image; empty if nothing suggests it.

    A condition with a blank-image counterpart is judged by its image gain; one without (`open`, `matched`) by the image
    gains under all other conditions.
    """
    model, condition = gain["first"], gain["condition"]
    shown, total = conditions[condition], comparison["results"][model][condition]["total"]
    seen = [row for row in comparison["sight"] if row["first"] == model]
    own = [row for row in seen if row["condition"] == condition]
    bound = comparison["above_blind"][model].get(condition)
    if shown.image == "blank":
        return "the image was blank"
    if bound is None and not own:
        return "neither a text-only baseline nor the model with a blank image was scored under it"
    if bound and bound["refused"]:
        return str(bound["refused"]).removeprefix("no gain, for ")
    if bound and not bound["above"]:
        return f"the {label(model)} is {bound['statement']}"
    if shown.options != "none" and total["low"] <= total["chance"]:
        return f"the {label(model)} is not shown to be above chance ({percent(total['chance'], 1)})"
    for row in own or seen:
        if row["significant"] != "better":
            return f"the {label(model)} is not shown to look at the image ({_image_gain(row, comparison)})"
    if shown.options != "none":
        for part in _every_order(comparison, conditions):
            if part["about"] == label(model) and part["answer"] == NO:
                return f"the {label(model)} answers by position ({part['statement']})"
    for row in comparison["beyond_blank"]:
        same = all(row[name] == gain[name] for name in ("first", "second", "condition"))
        if same and row["significant"] != "better":
            points = f"{100 * row['estimate']:+.1f} points, {span(row, '+')}"
            return f"it is not shown to exceed the difference with a blank image ({points})"
    return ""


def _difference(row: Mapping[str, Any]) -> str:
    return f"{100 * row['estimate']:+.1f} points ({span(row, '+')}; adjusted p {row['holm_p']:.2g})"


def _above(comparison: Mapping[str, Any], conditions: Conditions) -> Iterable[Json]:
    for model, rows in comparison["above_blind"].items():
        for condition, row in rows.items():
            if conditions[condition].image == "blank":
                continue
            total = comparison["results"][model][condition]["total"]
            below = total["high"] < row["low"]
            yield {
                "about": label(model),
                "condition": condition,
                "answer": YES if row["above"] else NO if below else NOT_SHOWN,
                "statement": f"{percent(total['accuracy'], 1)} ({span(total)}); text-only baseline {row['predictor']} "
                f"{percent(row['accuracy'], 1)} ({span(row)})",
            }


def _looks(comparison: Mapping[str, Any]) -> Iterable[Json]:
    if not comparison["sight"]:
        answer = f"{UNSAID}no condition shows a blank image"
        yield {"about": "every model", "condition": "", "answer": answer, "statement": ""}
    for row in comparison["sight"]:
        yield {
            **_part(row),
            "about": label(row["first"]),
            "statement": f"{_image_gain(row, comparison)}: {_difference(row)}",
        }


def _image_gain(row: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    results = comparison["results"][row["first"]]
    with_it, without = (results[name]["total"]["accuracy"] for name in (row["condition"], row["against"]))
    return f"under `{row['condition']}` {percent(with_it, 1)}, with a blank image {percent(without, 1)}"


def _every_order(comparison: Mapping[str, Any], conditions: Conditions) -> Iterable[Json]:
    shown = [name for name in comparison["conditions"] if conditions[name].image == "shown"]
    rotated = [name for name in shown if conditions[name].order == "rotated"]
    if not rotated:
        answer = f"{UNSAID}no condition shows the options in every order"
        yield {"about": "every model", "condition": "", "answer": answer, "statement": ""}
    for model in comparison["models"] if rotated else ():
        for condition in rotated:
            groups, total = comparison["results"][model], comparison["results"][model][condition]["total"]
            above, below = total["low"] > total["chance"], total["high"] < total["chance"]
            once = conditions[condition].model_copy(update={"order": "given"})
            plain = next((name for name in shown if conditions[name] == once), condition)
            places = groups[plain]["by_position"].values()
            recall = ", ".join(f"{100 * place['accuracy']:.0f}" for place in places)
            picked = ", ".join(f"{100 * place['picked']:.0f}" for place in places)
            yield {
                "about": label(model),
                "condition": condition,
                "answer": YES if above else NO if below else NOT_SHOWN,
                "statement": f"{percent(total['accuracy'], 1)} in every order ({span(total)}; chance "
                f"{percent(total['chance'], 1)}), {percent(groups[plain]['total']['accuracy'], 1)} under `{plain}`; "
                f"there, by position from the first, right in {recall} % and picked in {picked} %",
            }


def _together(parts: Sequence[Mapping[str, str]]) -> str:
    """Return the answer that all parts share, or each answer with its parts."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        grouped.setdefault(part["answer"], {}).setdefault(part["about"], []).append(f"`{part['condition']}`")
    if len(grouped) == 1:
        return next(iter(grouped))

    def those(abouts: Mapping[str, Sequence[str]]) -> str:
        return ", ".join(f"{about} under {' and '.join(names)}" for about, names in abouts.items())

    return "; ".join(f"{those(abouts)}: {answer}" for answer, abouts in grouped.items())
