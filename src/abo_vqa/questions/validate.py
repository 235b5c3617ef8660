"""Clean questions told from the others by a suite of expectations (paper, section 3.1)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.errors import InputError
from abo_vqa.params import ValidateParams
from abo_vqa.questions.expectations import refuse_failures, run_suite
from abo_vqa.questions.schema import COUNTING, Question, RawOutput
from abo_vqa.seeds import derive_rng

if TYPE_CHECKING:
    import pandas as pd

UNPARSABLE = "unparsable"


def failing_expectations(questions: Sequence[Question], params: ValidateParams) -> dict[str, list[str]]:
    """Return the names of the expectations that each question fails, by qa_id, in the suite's order."""
    by_question: dict[str, list[str]] = defaultdict(list)
    for name, keys in _run(questions, params).items():
        for key in keys:
            by_question[key].append(name)
    return dict(by_question)


def check_clean(questions: Sequence[Question], params: ValidateParams) -> None:
    """Run the suite on what is about to be written; InputError names expectation, count and three rows."""
    rows = {question.qa_id: asdict(question) for question in questions}
    refuse_failures(_run(questions, params), rows, "clean questions")


def _run(questions: Sequence[Question], params: ValidateParams) -> dict[str, list[str]]:
    thresholds = {"options": params.options, "counting_max": params.counting_max}
    return run_suite(Path(params.suite), derived_columns(questions), "qa_id", thresholds)


def derived_columns(questions: Iterable[Question]) -> "pd.DataFrame":
    """Return the scalar columns that the suite is about, one row a question.

    count: the answer to a counting question, -1 where it is no whole number, and null for the other types.
    """
    import pandas as pd

    rows = [
        {
            "qa_id": question.qa_id,
            "question_type": question.question_type,
            "question_length": len(question.question),
            "answer_words": len(question.answer.split()),
            "options_given": len(question.options),
            "options_distinct": len(set(question.options)),
            "options_empty": question.options.count(""),
            "answer_in_options": question.answer in question.options,
            "count": _count(question),
        }
        for question in questions
    ]
    return pd.DataFrame(rows).astype({"count": "float64"})


def _count(question: Question) -> float | None:
    if question.question_type != COUNTING:
        return None
    digits = question.answer
    return float(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1.0


def shuffle_options(questions: Sequence[Question], seed: int) -> list[Question]:
    """Return the questions, by qa_id, with shuffled options and every gold position equally frequent.

    Uniform by construction: the positions 0, 1, 2, 3, 0, ... are dealt out in random order within each
    question type, so that neither the type nor the whole favours one; counts of two positions differ by one
    at most per type.
    """
    ordered = sorted(questions, key=lambda question: question.qa_id)
    by_type: dict[str, list[int]] = defaultdict(list)
    for index, question in enumerate(ordered):
        by_type[question.question_type].append(index)
    for name, indices in by_type.items():
        rng = derive_rng(seed, "validate", "positions", name)
        options = len(ordered[indices[0]].options)
        first = rng.randrange(options)  # who gets the remainder
        positions = [(first + place) % options for place in range(len(indices))]
        rng.shuffle(positions)
        for index, position in zip(indices, positions, strict=True):
            ordered[index] = _with_answer_at(ordered[index], position, seed)
    return ordered


def _with_answer_at(question: Question, position: int, seed: int) -> Question:
    others = sorted(option for option in question.options if option != question.answer)
    derive_rng(seed, "validate", "options", question.qa_id).shuffle(others)
    return replace(question, options=(*others[:position], question.answer, *others[position:]))


def accounting(
    outputs: Sequence[RawOutput],
    questions: Sequence[Question],
    unparsable: Sequence[RawOutput],
    failing: Mapping[str, list[str]],
) -> dict[str, Any]:
    """Return the counts of a validation, checked to add up, as a whole and for each generator.

    outputs = with_questions + unparsable; questions = clean + quarantined; quarantined_by_reason counts each
    question once, under the first expectation that it fails, and failures_by_expectation under every one.
    """
    by_generator = {}
    for generator in sorted({output.generator for output in outputs}):
        by_generator[generator] = _closed(
            [output for output in outputs if output.generator == generator],
            [question for question in questions if question.generator == generator],
            [output for output in unparsable if output.generator == generator],
            failing,
        )
    return _closed(outputs, questions, unparsable, failing) | {"by_generator": by_generator}


def _closed(
    outputs: Sequence[RawOutput],
    questions: Sequence[Question],
    unparsable: Sequence[RawOutput],
    failing: Mapping[str, list[str]],
) -> dict[str, Any]:
    clean = Counter(question.question_type for question in questions if question.qa_id not in failing)
    refused = [question for question in questions if question.qa_id in failing]
    reasons = Counter(failing[question.qa_id][0] for question in refused)
    with_questions = len({(question.generator, question.product_id) for question in questions})
    counts = {
        "outputs": {"read": len(outputs), "with_questions": with_questions, UNPARSABLE: len(unparsable)},
        "questions": {"read": len(questions), "clean": sum(clean.values()), "quarantined": len(refused)},
        "clean_by_type": dict(clean),
        "quarantined_by_type": dict(Counter(question.question_type for question in refused)),
        "quarantined_by_reason": dict(reasons),
        "failures_by_expectation": dict(Counter(name for q in refused for name in failing[q.qa_id])),
    }
    assert len(outputs) == with_questions + len(unparsable), counts
    assert len(questions) == sum(clean.values()) + sum(reasons.values()), counts
    return counts


def refuse_too_many(quarantined: int, rows: int, params: ValidateParams, reasons: Mapping[str, int]) -> None:
    """Raise InputError if nothing is clean, or if more than `validate.max_quarantined` of the rows are not.

    quarantined: refused questions and unparsable outputs together. rows: these and the clean questions.
    """
    most = ", ".join(f"{name} {count}" for name, count in Counter(reasons).most_common(3))
    if quarantined == rows:
        raise InputError(f"validate: none of {rows} rows is clean ({most or 'no rows'}); see tables/raw.jsonl")
    if quarantined > params.max_quarantined * rows:
        raise InputError(
            f"validate: {quarantined} of {rows} rows are quarantined, {quarantined / rows:.1%}, more than "
            f"validate.max_quarantined {params.max_quarantined:.1%} ({most}); see tables/quarantine.parquet"
        )
