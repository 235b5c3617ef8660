"""`abo-vqa sweep`: rank experiments by validation accuracy, and pool those that differ only in the seed.

The seed determines the sample, the splits and the training; the spread over seeds includes all three.
"""

import json
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Annotated, Any

import typer

from abo_vqa.commands.project_option import Project, enter_project
from abo_vqa.commands.sweep_ranking import Outcome, Outcomes, differing, grouped, render_ranking, values_of
from abo_vqa.common.errors import InputError

COMPARISON, METRICS = "reports/comparison.json", "reports/metrics.json"
PARAMS = "params.yaml"

Json = dict[str, Any]


EXAMPLES = """
dvc exp run --queue -S seed=1,2,3,4,5 && dvc queue start    # first, the runs
abo-vqa sweep                        # HEAD and its experiments
abo-vqa sweep main exp-1 exp-2       # these revisions
"""


def main(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REVISION",
            help="Commits, branches, tags or DVC experiments. Default: HEAD and its experiments.",
            show_default=False,
        ),
    ] = None,
    project: Project = None,
) -> None:
    """Rank experiments by validation accuracy; pool seeds.

    Prints Markdown. Experiments with different parameters are ranked by the validation accuracy of their arms, with the
    test accuracy beside it. For those that differ only in the seed, each accuracy and each planned difference with its
    mean over seeds, standard deviation, and a Student-t interval of the mean.
    """
    enter_project(project)
    print(render(read_revisions(revisions) if revisions else read_experiments()))


def read_revisions(revisions: Sequence[str]) -> dict[str, Outcome]:
    """Return the outcome of each revision by its name, in their order.

    A revision is anything that git resolves, or the name of a DVC experiment. Raises InputError if one is unknown or
    has no comparison.
    """
    found = {}
    for name in revisions:
        params, comparison = _flat(_params(name)), _report(COMPARISON, name)
        if comparison is None:
            raise InputError(
                f"{name}: its {COMPARISON} is neither in git nor in DVC's cache; run `dvc repro` or `dvc fetch` there"
            )
        if "verdict" not in comparison:
            raise InputError(f"{name}: its {COMPARISON} has an older format; run `dvc repro compare` there again")
        found[name] = Outcome(params, comparison, _report(METRICS, name) or {})
    return found


def read_experiments() -> dict[str, Outcome]:
    """Return the outcomes of HEAD and of the DVC experiments on top of it; those without a comparison are left out."""
    import dvc.api

    shown = dvc.api.exp_show(revs="HEAD")
    names = ["HEAD", *(row["Experiment"] for row in shown if row["Experiment"])]
    return read_revisions([name for name in names if _report(COMPARISON, name)] or ["HEAD"])


def render(outcomes: Outcomes) -> str:
    """Return the ranking, if parameters differ, and the pooled seeds of each of its rows as Markdown.

    Raises InputError if there is nothing to rank or to pool.
    """
    groups = grouped(outcomes)
    if len(groups) == 1:
        return render_pool(_comparisons(groups[0]))
    names = differing(groups)
    several = [group for group in groups if len({outcome.comparison["seed"] for outcome in group.values()}) > 1]
    pooled = [render_pool(_comparisons(group), values_of(group, names)) for group in several]
    return "\n\n".join([render_ranking(groups), *pooled])


def _comparisons(group: Outcomes) -> dict[str, Json]:
    return {name: outcome.comparison for name, outcome in group.items()}


def pool(comparisons: Mapping[str, Mapping[str, Any]]) -> Json:
    """Return {seeds, confidence, accuracies: rows, differences: rows}; a row is of one model or pair under a condition.

    comparisons: by name, as in reports/comparison.json. A row has seeds, mean, deviation (with n - 1), low and
    high, the Student-t interval of the mean over seeds at the first comparison's confidence. Runs of one seed count
    once if they agree. Raises InputError if they do not, or for a single seed.
    """
    by_seed: dict[int, tuple[str, Mapping[str, Any]]] = {}
    for name, comparison in comparisons.items():
        other, known = by_seed.setdefault(comparison["seed"], (name, comparison))
        if known["results"] != comparison["results"]:
            raise InputError(f"{other} and {name} have the seed {comparison['seed']}, but different results; name one")
    if len(by_seed) < 2:
        names = ", ".join(comparisons)
        raise InputError(
            f"one seed only ({next(iter(by_seed))}, in {names}): the spread needs at least two; run others with "
            "`dvc exp run --queue -S seed=1` and so on, and `dvc queue start`"
        )
    runs = [comparison for _, comparison in by_seed.values()]
    confidence = runs[0]["confidence"]
    accuracies: dict[tuple[str, ...], list[float]] = {}
    differences: dict[tuple[str, ...], list[float]] = {}
    shown: dict[tuple[str, ...], int] = {}
    for run in runs:
        for model, groups in run["results"].items():
            for condition, group in groups.items():
                accuracies.setdefault((model, condition), []).append(group["total"]["accuracy"])
        for row in run["differences"]:
            key = (row["first"], row["second"], row["condition"])
            differences.setdefault(key, []).append(row["estimate"])
            shown[key] = shown.get(key, 0) + (row["significant"] == "better")
    return {
        "seeds": sorted(by_seed),
        "confidence": confidence,
        "accuracies": [
            {"model": key[0], "condition": key[1], **_spread(values, confidence)} for key, values in accuracies.items()
        ],
        "differences": [
            {
                "first": key[0],
                "second": key[1],
                "condition": key[2],
                **_spread(values, confidence),
                "better": shown[key],
            }
            for key, values in differences.items()
        ],
    }


def render_pool(comparisons: Mapping[str, Mapping[str, Any]], parameters: str = "") -> str:
    """Return the pooled runs as Markdown; parameters: the values that differ from other groups."""
    from abo_vqa.statistics.display import markdown_table, percent, span

    pooled = pool(comparisons)
    level = percent(pooled["confidence"])
    accuracies = [
        [
            row["model"],
            row["condition"],
            str(row["seeds"]),
            percent(row["mean"], 1),
            f"{100 * row['deviation']:.1f}",
            span(row),
        ]
        for row in pooled["accuracies"]
    ]
    differences = [
        [
            row["first"],
            row["second"],
            row["condition"],
            str(row["seeds"]),
            f"{100 * row['mean']:+.1f}",
            f"{100 * row['deviation']:.1f}",
            span(row, "+"),
            f"{row['better']} of {row['seeds']}",
        ]
        for row in pooled["differences"]
    ]
    sections = [
        f"# {len(pooled['seeds'])} seeds{f', {parameters}' if parameters else ''}",
        f"Seeds {', '.join(map(str, pooled['seeds']))}. Deviation: the standard deviation over seeds, in points; "
        f"interval: {level}, Student's t, of the mean over seeds. The seed determines sample, splits and training.",
        "## Accuracy",
        markdown_table(["model", "condition", "seeds", "mean", "deviation", "interval"], accuracies),
    ]
    if differences:
        heads = ["first", "second", "condition", "seeds", "points", "deviation", "interval", "first is better in"]
        sections += ["## Planned differences", markdown_table(heads, differences)]
        sections.append(
            "First is better in: the number of seeds whose own run shows the first significantly better; each run's "
            "verdict tells whether that is a gain."
        )
    return "\n\n".join(sections)


def _spread(values: Sequence[float], confidence: float) -> Json:
    from scipy.stats import t

    center, number = mean(values), len(values)
    if number < 2:
        # The other runs lack this condition.
        return {"seeds": number, "mean": center, "deviation": float("nan"), "low": float("nan"), "high": float("nan")}
    deviation = stdev(values)
    half = float(t.ppf((1 + confidence) / 2, number - 1)) * deviation / number**0.5
    return {"seeds": number, "mean": center, "deviation": deviation, "low": center - half, "high": center + half}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Json:
    flat: Json = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _params(revision: str) -> Json:
    import dvc.api
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        return dict(dvc.api.params_show(PARAMS, rev=revision))
    except (DvcException, SCMError, OSError) as error:
        raise InputError(
            f"{revision}: neither a revision nor an experiment with a {PARAMS} ({error}); `dvc exp list` and `git log` "
            "list them"
        ) from None


def _report(path: str, revision: str) -> Json | None:
    """Return a report of a revision, from git or DVC's cache; None if neither has it."""
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return dict(json.loads(dvc.api.read(path, rev=revision)))
    except (DvcException, OSError):
        return None
