"""The codes of the verdict, and their words: made last, from the data of `verdict` and the tables of `compare`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from abo_vqa.common.params.model import BASE
from abo_vqa.statistics.display import percent, plain, span

Json = Mapping[str, Any]

YES, NO, NOT_SHOWN, UNSAID = "yes", "no", "not shown", "unsaid"

# Codes of the questions, in the report's order.
TRAINING, OPTIONS_SHOWN, OTHER, HOLDS = "training", "options shown", "other", "holds"
BEYOND, RANKED, ABOVE, LOOKS, EVERY_ORDER = "beyond", "ranked", "above text only", "looks", "every order"

QUESTIONS = {
    TRAINING: "Did training help?",
    OPTIONS_SHOWN: "Did showing the options in training help?",
    OTHER: "In the other planned comparisons, is the first model better?",
    HOLDS: "Does a gain hold where the text does not reveal the answer, and in every order of the options?",
    BEYOND: "Is a gain larger than the same models' difference without the question's image?",
    RANKED: "Does a gain remain where the options are only ranked, whatever the form of an answer?",
    ABOVE: "Is each model above the best text-only baseline?",
    LOOKS: "Does each model score higher with the image than with a blank one, or another product's?",
    EVERY_ORDER: "Is each model right in every order of the options more often than by chance?",
}
BECAUSE = "cannot be said, because "
IMAGES = {"blank": "a blank image", "other": "another product's image"}

REASONS: dict[str, Callable[[Json], str]] = {
    "runs": lambda r: f"{r['text']}: another training seed could reverse the difference",
    "not asked": lambda r: "no test question is kept under it",
    "no gain to hold": lambda r: "no gain is shown where the options are as given",
    "no counterparts": lambda r: "no condition is asked without its image (evaluate.counterparts)",
    "no rotation": lambda r: "no condition shows the options in every order",
    "image hidden": lambda r: "the question's image was not shown",
    "question hidden": lambda r: "the question was not shown",
    "text-only limit": lambda r: r["text"].removeprefix("no gain, for "),
    "text only": lambda r: f"the {label(r['model'])} is {r['text']}",
    "chance": lambda r: f"the {label(r['model'])} is not shown to be above chance ({percent(r['chance'], 1)})",
    "not audited": lambda r: "no text-only baseline was asked what it shows",
    "few counterparts": lambda r: f"only {r['n']} of its {r['of']} questions were asked with {IMAGES[r['against']]}",
    "no counterpart": lambda r: f"it was not asked with {IMAGES[r['against']]} (evaluate.counterparts)",
    "does not look": lambda r: (
        f"the {label(r['model'])} is not shown to look at the image: {_points(r)} against {_image(r)}"
    ),
    "not beyond": lambda r: f"it is not shown to exceed the difference with {_image(r)} ({_points(r)})",
    "position": lambda r: f"the {label(r['model'])} answers by position, as `{r['condition']}` shows",
    "form": lambda r: (
        f"no gain is shown to remain where an answer that is no option counts by the ranking ({_points(r)})"
    ),
    "one type": lambda r: f"no gain is shown to remain without the {plain(r['type'])} questions ({_points(r)})",
}
_FEW = {
    True: "Each arm has one training run. Intervals and p values generalize to other questions and images like these: "
    "they say whether these adapters are better than base.",
    False: "Each arm has two training runs, too few for any interval: their mean hides a run that failed.",
}
LIMITS: dict[str, Callable[[Json], str]] = {
    "few runs": lambda limit: (
        f"{_FEW[limit['replicates'] == 1]} They cannot show which way of training is better, because another training "
        "seed could reverse a difference between two arms. Give train.replicates at least three seeds."
    ),
    "runs": lambda limit: (
        f"Every arm was trained {limit['replicates']} times, with the same training seeds. Intervals and p values of "
        "differences between arms, and between an arm and base, generalize to other images and to other training "
        "seeds, not to other catalogs, base models or training settings."
    ),
}


def in_words(comparison: Json) -> dict[str, Any]:
    """Return {"questions": [{question, answer, groups, parts}], "limits": text}.

    parts: {about, condition, answer, statement}; an answer is yes, no, not shown, or "cannot be said, because ...". A
    question's answer names the parts of each if they differ; groups has the same as a list.
    """
    found: dict[str, Any] = {"questions": [], "limits": ""}
    for question in comparison["verdict"]["questions"]:
        parts = [
            {
                "about": about(part, question["code"]),
                "condition": part["condition"],
                "answer": answer_text(part),
                "statement": _statement(part, question["code"], comparison),
            }
            for part in question["parts"]
        ]
        groups = _by_answer(parts)
        answer = "; ".join(f"{group['about']}: {group['answer']}".removeprefix(": ") for group in groups)
        row = {"question": QUESTIONS[question["code"]], "answer": answer, "groups": groups, "parts": parts}
        found["questions"].append(row)
    found["limits"] = " ".join(LIMITS[limit["code"]](limit) for limit in comparison["verdict"]["limits"])
    return found


def headlines(comparison: Json) -> list[tuple[str, str]]:
    """Return the main questions, each with its answer in one sentence: points and interval of every planned difference.

    The main questions are what showing the options did, and what training did; the first one if there is neither.
    """
    questions = comparison["verdict"]["questions"]
    main = [row for code in (OPTIONS_SHOWN, TRAINING) for row in questions if row["code"] == code]
    return [(QUESTIONS[row["code"]], _headline(row["parts"], comparison)) for row in main or questions[:1]]


def _headline(parts: Sequence[Json], comparison: Json) -> str:
    rows = {_key(row): row for row in comparison["differences"]}
    said: dict[str, dict[tuple[str, str], list[str]]] = {}
    interval = f"{percent(comparison['confidence'])} interval "  # named once
    for part in parts:
        phrases = said.setdefault(answer_text(part), {}).setdefault((part["first"], part["second"]), [])
        other = "it" if phrases else f"the {label(part['second'])}"
        if row := rows.get(_key(part)):
            points = f"{100 * abs(row['estimate']):.1f} points {'below' if row['estimate'] < 0 else 'above'} {other}"
            phrases.append(f"{points} under `{part['condition']}` ({interval}{span(row, '+')})")
            interval = ""
        else:
            phrases.append(f"not compared with {other} under `{part['condition']}`")
    text = "; ".join(
        f"{answer}: " + "; ".join(f"the {label(first)} is {' and '.join(of)}" for (first, _), of in pairs.items())
        for answer, pairs in said.items()
    )
    return f"{text[:1].upper()}{text[1:]}."


def _key(row: Json) -> tuple[str, ...]:
    return tuple(row[name] for name in ("first", "second", "condition", "against"))


def answers_about(comparison: Mapping[str, Any], first: str, second: str) -> dict[str, Json]:
    """Return the planned parts on first minus second, by condition."""
    parts = [part for question in comparison["verdict"]["questions"] for part in question["parts"]]
    found = [part for part in parts if part["planned"] and (part["first"], part["second"]) == (first, second)]
    return {part["condition"]: part for part in found}


def answer_text(part: Json) -> str:
    """Return a part's answer: yes, no, not shown, or why it cannot be said."""
    if part["answer"] != UNSAID:
        return str(part["answer"])
    return BECAUSE + reason_text(part)


def reason_text(part: Json) -> str:
    """Return why a part is unsaid; empty if it is not."""
    return "; and ".join(REASONS[reason["code"]](reason) for reason in part["reasons"])


def label(model: str) -> str:
    """Return a model's name in a sentence."""
    return model if model == BASE else f"{plain(model)} arm"


def about(part: Json, question: str) -> str:
    """Return what a part is about: a difference of two models, a model, or a model's image gain."""
    if not part["first"]:
        return "every model"
    if part["first"] != part["second"]:
        kind = part["against"].rpartition("/")[2]
        beyond = f", beyond {IMAGES.get(kind, kind)}" if question == BEYOND else ""
        return f"{label(part['first'])} − {label(part['second'])}{beyond}"
    if part["condition"] != part["against"]:
        kind = part["against"].rpartition("/")[2]
        return f"{label(part['first'])} against {IMAGES.get(kind, kind)}"
    return label(part["first"])


TABLES = {
    BEYOND: "gains_beyond",
    RANKED: "ranked_differences",
    LOOKS: "image_gains",
}


def _statement(part: Json, question: str, comparison: Json) -> str:
    if question == ABOVE:
        row = comparison["above_text_only"][part["first"]][part["condition"]]
        total = comparison["results"][part["first"]][part["condition"]]["total"]
        return (
            f"{percent(total['accuracy'], 1)} ({span(total)}); text-only baseline {plain(row['predictor'])} "
            f"{percent(row['accuracy'], 1)} ({span(row)})"
        )
    if question == EVERY_ORDER:
        return _every_order(part, comparison) if part["first"] else ""
    rows = comparison[TABLES.get(question, "differences")]
    row = next((row for row in rows if _key(row) == _key(part)), None)
    return "" if row is None else difference_text(row)


def difference_text(row: Json) -> str:
    """Return a difference with its interval, p, what it generalizes to and what could have been detected."""
    p = f"p {row['p']:.2g}" if row["unsaid"] else f"adjusted p {row['holm_p']:.2g}"
    these = "These adapters: " if row["unsaid"] else ""
    text = (
        f"{these}{100 * row['estimate']:+.1f} points ({span(row, '+')}; {p}); detectable: {100 * row['detectable']:.1f}"
    )
    if row.get("seed_deviation") is not None:
        text += f"; {row['replicates']} runs, seed deviation {100 * row['seed_deviation']:.1f}"
    return text


def _every_order(part: Json, comparison: Json) -> str:
    groups = comparison["results"][part["first"]]
    total = groups[part["condition"]]["total"]
    places = groups[part["condition"]]["by_position"].values()
    recall = ", ".join(f"{100 * place['accuracy']:.0f}" for place in places)
    picked = ", ".join(f"{100 * place['picked']:.0f}" for place in places)
    return (
        f"{percent(total['accuracy'], 1)} in every order ({span(total)}; chance {percent(total['chance'], 1)}); by "
        f"position from the first, right in {recall} % and picked in {picked} %"
    )


def _image(reason: Json) -> str:
    return IMAGES[reason["against"].rpartition("/")[2]]


def _points(row: Json) -> str:
    return f"{100 * row['estimate']:+.1f} points, {span(row, '+')}"


def _by_answer(parts: Sequence[Json]) -> list[dict[str, str]]:
    """Return every different answer as {answer, about}: the parts that share it, empty if all do."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        grouped.setdefault(part["answer"], {}).setdefault(part["about"], []).append(f"`{part['condition']}`")

    def those(abouts: Mapping[str, Sequence[str]]) -> str:
        return ", ".join(f"{name} under {' and '.join(names)}" for name, names in abouts.items())

    return [
        {"answer": answer, "about": those(abouts) if len(grouped) > 1 else ""} for answer, abouts in grouped.items()
    ]
