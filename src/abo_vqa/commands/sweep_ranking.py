"""Rank experiments by the validation accuracy of their arms."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

SEED, TEST_CONDITIONS = "seed", "registry.champion_under"  # in params.yaml
VALIDATION = "validation/accuracy"  # in reports/metrics.json

Json = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A revision's parameters and reports. params: by dotted name; comparison, metrics: the content of the reports."""

    params: Json
    comparison: Json
    metrics: Json


Outcomes = Mapping[str, Outcome]  # by revision


def grouped(outcomes: Outcomes) -> list[Outcomes]:
    """Return the outcomes whose parameters differ at most in the seed together, best validation accuracy first."""
    groups: dict[str, dict[str, Outcome]] = {}
    for name, outcome in outcomes.items():
        others = {key: value for key, value in outcome.params.items() if key != SEED}
        groups.setdefault(json.dumps(others, sort_keys=True, default=str), {})[name] = outcome
    return sorted(groups.values(), key=lambda group: validation(group) or 0.0, reverse=True)


def validation(group: Outcomes, arms: Sequence[str] = ()) -> float | None:
    """Return the mean validation accuracy over a group's seeds and arms, by default all; None if one has none."""
    known = [
        outcome.metrics.get(arm, {}).get(VALIDATION)
        for outcome in group.values()
        for arm in arms or _arms(outcome.comparison)
    ]
    return None if None in known or not known else mean(known)


def render_ranking(groups: Sequence[Outcomes]) -> str:
    """Return groups, in their order, as Markdown: a row for each arm, with test accuracies beside the validation's."""
    from abo_vqa.common.params.model import BASE
    from abo_vqa.statistics.display import markdown_table, percent

    first, names = next(iter(groups[0].values())), differing(groups)
    conditions = [name for name in first.params.get(TEST_CONDITIONS, []) if name in first.comparison["results"][BASE]]

    def shown(share: float | None) -> str:
        return "none" if share is None else percent(share, 1)

    rows = [
        [
            ", ".join(group),
            values_of(group, names),
            shown(validation(group)),
            arm,
            shown(validation(group, [arm])),
            *(shown(_test(group, arm, condition)) for condition in conditions),
        ]
        for group in groups
        for arm in _arms(next(iter(group.values())).comparison)
    ]
    heads = ["experiment", "parameters", "validation", "arm", "its validation", *(f"test, {c}" for c in conditions)]
    return "\n\n".join(
        [
            "# Experiments by validation accuracy",
            "Best first, by the mean validation accuracy over arms and seeds. Choose by it. The test accuracy is for "
            "reporting the chosen one: of several, the best on the test set owes part of its lead to luck.",
            markdown_table(heads, rows),
        ]
    )


def _test(group: Outcomes, arm: str, condition: str) -> float | None:
    """Return an arm's test accuracy under a condition, the mean over seeds; None if a run lacks it."""
    found = [outcome.comparison["results"][arm].get(condition) for outcome in group.values()]
    return None if None in found else mean(row["total"]["accuracy"] for row in found if row)


def _arms(comparison: Mapping[str, Any]) -> list[str]:
    from abo_vqa.common.params.model import BASE

    return [name for name in comparison["results"] if name != BASE]


def differing(groups: Iterable[Outcomes]) -> list[str]:
    """Return the parameters, by dotted names and without the seed, in which the groups differ."""
    params = [next(iter(group.values())).params for group in groups]
    names = sorted(set().union(*params) - {SEED})
    return [name for name in names if any(one.get(name) != params[0].get(name) for one in params)]


def values_of(group: Outcomes, names: Sequence[str]) -> str:
    """Return a group's values of the named parameters as text."""
    params = next(iter(group.values())).params
    return ", ".join(f"{name}={params.get(name, 'absent')}" for name in names)
