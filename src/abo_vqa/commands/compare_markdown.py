"""The outcome of `abo-vqa compare` as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from abo_vqa.statistics.display import markdown_table, percent, plain, span

_MATCHES = (
    "Exact: equal in lower case and American spelling, number words as digits, without outer punctuation; with "
    "options, a letter is its option. Tolerant: also ignores articles and plurals, and allows one typing error in "
    "seven letters of a word, unless another option is as close. The verdicts below the tables are the exact match's."
)
_METHOD = (
    "Intervals are {level}, over {clusters}. Differences are first − second, paired by question; adjusted p: Holm, "
    "over all pairs of models. Detectable: the true difference that the test finds with a chance of 80 %."
)
_SINGLE = (
    "Each model is one file: a verdict is about these models, on other questions about images like these. To compare "
    "ways of training, give several runs of each: NAME=FILE NAME=FILE ..."
)
_RUNS = (
    "Deviation: of the accuracy from run to run, which its interval leaves out. The interval of a difference between "
    "models with several runs covers images and training seeds; image error and seed error are the parts of its "
    "standard error, and seed deviation is the difference's from seed to seed, without the noise of single answers. "
    "Runs of two models are taken as independent, whatever their order: nothing says which share a seed. A model with "
    "one run is taken as fixed. All in points."
)


def render(compared: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown."""
    single = all(row["runs"] == 1 for row in compared["models"])
    groups = f" in {compared['groups']} groups" if compared["groups"] < compared["images"] else ""
    level = percent(compared["confidence"])
    parts = [
        f"{compared['questions']} questions on {compared['images']} images{groups}",
        markdown_table(*_model_table(compared, single)),
        markdown_table(*_difference_table(compared, single)),
        "\n".join(f"- {sentence}" for sentence in _sentences(compared)),
    ]
    if len(compared["by_type"]) > 1:
        parts.insert(2, markdown_table(*_type_table(compared)))
    parts += [_MATCHES, _METHOD.format(level=level, clusters="groups of images" if groups else "images")]
    parts.append(_SINGLE if single else _RUNS)
    if lacking := compared["without_options"]:
        parts.append(
            f"No options in {', '.join(map(plain, lacking))}, but in other files: if these models did not see them, a "
            "difference is one of prompts, too."
        )
    if len(set(compared["conditions"].values())) > 1:
        parts.append(_conditions(compared["conditions"]))
    return "\n\n".join(parts)


def _conditions(conditions: Mapping[str, str]) -> str:
    """Return which file was asked under which condition; a file without a condition may be of any."""
    asked = [
        f"{plain(name)} was asked under {plain(condition)}" if condition else f"{plain(name)} has no condition"
        for name, condition in conditions.items()
    ]
    return f"{', '.join(asked)}: a difference is one of conditions, too."


def _model_table(compared: Mapping[str, Any], single: bool) -> tuple[list[str], list[list[str]]]:
    heads = [
        "model",
        "runs",
        "exact",
        "interval",
        "deviation",
        "tolerant",
        "its interval",
        "its deviation",
        "no answer",
    ]
    rows = []
    for row in compared["models"]:
        cells = [row["model"], str(row["runs"])]
        for found in (row["exact"], row["tolerant"]):
            cells += [percent(found["accuracy"], 1), span(found), _points(found["deviation"])]
        rows.append([*cells, str(row["empty"])])
    return _without(heads, rows, ["runs", "deviation", "its deviation"] if single else [])


def _type_table(compared: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = [row["model"] for row in compared["models"]]
    rows = [
        [kind, str(found["n"]), *(percent(found["accuracy"][name], 1) for name in names)]
        for kind, found in compared["by_type"].items()
    ]
    return ["exact, by type", "n", *names], rows


def _difference_table(compared: Mapping[str, Any], single: bool) -> tuple[list[str], list[list[str]]]:
    heads = [
        "first", "second", "match", "points", "interval", "adjusted p", "detectable", "image error", "seed error",
        "seed deviation", "first is",
    ]  # fmt: skip
    rows = [
        [
            row["first"],
            row["second"],
            row["match"],
            f"{100 * row['estimate']:+.1f}",
            span(row, "+"),
            f"{row['holm_p']:.2g}",
            _points(row["detectable"]),
            *(_points(row.get(name)) for name in ("image_error", "seed_error", "seed_deviation")),
            row["answer"].partition(",")[0],
        ]
        for row in compared["differences"]
    ]
    return _without(heads, rows, ["image error", "seed error", "seed deviation"] if single else [])


def _sentences(compared: Mapping[str, Any]) -> list[str]:
    tolerant = {(row["first"], row["second"]): row for row in compared["differences"] if row["match"] == "tolerant"}
    exact = [row for row in compared["differences"] if row["match"] == "exact"]
    return [_sentence(row, tolerant[row["first"], row["second"]]) for row in exact]


def _sentence(row: Mapping[str, Any], tolerant: Mapping[str, Any]) -> str:
    first, second = (_label(row[key], runs) for key, runs in zip(("first", "second"), row["runs"], strict=True))
    points = f"{100 * row['estimate']:+.1f} points"
    figures = f"{points} ({span(row, '+')}; adjusted p {row['holm_p']:.2g})"
    if row["unsaid"]:
        said = f"Whether {first} is better than {second} {row['answer']}: {points} here"
    elif row["answer"] in ("better", "worse"):
        said = f"{first} is {row['answer']} than {second}: {figures}"
    else:
        said = f"A difference between {first} and {second} is not shown: {figures}"
    other = "" if tolerant["answer"] == row["answer"] else f"; by the tolerant match: {tolerant['answer']}"
    return f"{said}{other}."


def _label(name: str, runs: int) -> str:
    return f"{plain(name)} ({runs} runs)" if runs > 1 else plain(name)


def _points(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _without(heads: list[str], rows: list[list[str]], left_out: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    kept = [place for place, head in enumerate(heads) if head not in left_out]
    return [heads[place] for place in kept], [[row[place] for place in kept] for row in rows]
