"""Separate clean questions from the others with a suite of expectations (paper, section 3.1)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import ValidateParams
from abo_vqa.common.schema import COUNTING, QUESTION_TYPES, RawOutput
from abo_vqa.common.words import UNREADABLE, find_markup
from abo_vqa.questions.accounting import UNPARSABLE, accounting, compositions
from abo_vqa.questions.expectations import Guarded, refuse_failures, run_suite
from abo_vqa.questions.label_truth import CONTRADICTS, contradictions
from abo_vqa.questions.parse import flatten
from abo_vqa.questions.repair import repair_options, repair_spelling
from abo_vqa.questions.schema import Question
from abo_vqa.questions.second_opinion import agreement

if TYPE_CHECKING:
    import pandas as pd

# Gold positions are rejected if uniform ones would be as uneven in only one of this many tables.
_ONCE_IN = 1000


@dataclass(frozen=True)
class Curated:
    """The result of a validation.

    clean: repaired, options shuffled, by qa_id. quarantined: questions as given, each with the expectations that it
    fails after repair. unparsable: outputs without a question. as_given: every question in output order, its spelling
    repaired but not its options, these in the given order. report: the counts.
    """

    clean: list[Question]
    quarantined: list[tuple[Question, list[str]]]
    unparsable: list[RawOutput]
    as_given: list[Question]
    report: dict[str, Any]


def curate(
    outputs: Sequence[RawOutput], params: ValidateParams, seed: int, products: Sequence[Mapping[str, Any]] = ()
) -> Curated:
    """Parse, repair, check and shuffle; every output and every question is accounted for (paper, section 3.1).

    products: the sampled listings, with which the answers are compared. InputError: two outputs for one image, whose
    questions would share a qa_id.
    """
    _refuse_repeated(outputs)
    given, unparsable, readings = flatten(outputs)
    as_given = repair_spelling(given, params.repairs)
    repaired = repair_options(as_given, params, seed)
    failing = failing_expectations(repaired, params)
    truth, contradicting = contradictions([q for q in repaired if q.qa_id not in failing], products)
    if params.contradicted == "quarantine":
        failing |= {key: [CONTRADICTS] for key in sorted(contradicting)}
    report = accounting(outputs, repaired, unparsable, failing)
    report["outputs"]["read_as"] = dict(readings)
    report["against_listings"] = truth
    if any(output.opinions is not None for output in outputs):
        report["second_opinion"] = agreement([q for q in repaired if q.qa_id not in failing], outputs)
    clean = shuffle_options([question for question in repaired if question.qa_id not in failing], seed)
    quarantined = [(question, failing[question.qa_id]) for question in given if question.qa_id in failing]
    return Curated(clean, quarantined, unparsable, as_given, report)


def _refuse_repeated(outputs: Sequence[RawOutput]) -> None:
    names = Counter(output.image_path for output in outputs)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise InputError(
            f"raw outputs: {len(repeated)} images have more than one, such as {repeated[0]}; keep one output per image"
        )


def failing_expectations(questions: Sequence[Question], params: ValidateParams) -> dict[str, list[str]]:
    """Return the names of the expectations that each question fails, by qa_id, in the suite's order."""
    if not questions:
        return {}
    by_question: dict[str, list[str]] = defaultdict(list)
    for name, outcome in run_suite(guarded_questions(questions, params), rows_only=True).items():
        for key in outcome.keys:
            by_question[key].append(name)
    return dict(by_question)


def check_clean(questions: Sequence[Question], params: ValidateParams) -> None:
    """Run the suite on the clean questions; InputError names expectation, count and three rows."""
    rows = {question.qa_id: asdict(question) for question in questions}
    refuse_failures(run_suite(guarded_questions(questions, params)), rows, "clean questions")


def guarded_questions(questions: Sequence[Question], params: ValidateParams) -> Guarded:
    """Return the table that the suite checks, with the suite's parameters.

    positions: the uniform distribution over the options. uneven: the Kullback-Leibler divergence D (nats) from it above
    which a likelihood-ratio test rejects it; 2 n D is chi-square distributed with options - 1 degrees of freedom.
    """
    from scipy.stats import chi2

    places = range(params.options)
    thresholds = {
        "options": params.options,
        "counting_max": params.counting_max,
        "question_types": list(QUESTION_TYPES),
        "positions": {"values": list(places), "weights": [1 / params.options for _ in places]},
        "uneven": float(chi2.isf(1 / _ONCE_IN, params.options - 1)) / (2 * max(len(questions), 1)),
    }
    return Guarded(Path(params.suite), derived_columns(questions), "qa_id", thresholds)


def derived_columns(questions: Sequence[Question]) -> "pd.DataFrame":
    """Return the scalar columns that the suite checks, one row per question.

    unreadable_letters: characters that could not be decoded. special_tokens: texts with one of them, such as <image>.
    count: the answer to a counting question, -1 if it is not an integer, null for the other types. answer_index: the
    answer's position among the options, null if it is not one. composition: of the question's image.
    """
    import pandas as pd

    by_image = compositions(questions)
    rows = [
        {
            "qa_id": question.qa_id,
            "question_type": question.question_type,
            "readable": question.readable,
            "unreadable_letters": sum(text.count(UNREADABLE) for text in _texts(question)),
            "special_tokens": sum(find_markup(text) is not None for text in _texts(question)),
            "question_length": len(question.question),
            "answer_length": len(question.answer),
            "answer_words": len(question.answer.split()),
            "longest_option": max(map(len, question.options), default=0),
            "options_given": len(question.options),
            "options_distinct": len(set(question.options)),
            "options_empty": question.options.count(""),
            "answer_in_options": question.answer in question.options,
            "answer_index": question.options.index(question.answer) if question.answer in question.options else None,
            "count": _count(question),
            "composition": by_image[question.image_path],
        }
        for question in questions
    ]
    return pd.DataFrame(rows).astype({"count": "float64", "answer_index": "float64"})


def _texts(question: Question) -> tuple[str, ...]:
    return question.question, question.answer, *question.options


def _count(question: Question) -> float | None:
    if question.question_type != COUNTING:
        return None
    digits = question.answer
    return float(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1.0


def shuffle_options(questions: Sequence[Question], seed: int) -> list[Question]:
    """Return the questions, by qa_id, with shuffled options and every gold position equally frequent.

    Uniform by construction: within each question type, the positions 0, 1, 2, 3, 0, ... are dealt out in random order,
    so the counts of two positions differ by one at most.
    """
    ordered = sorted(questions, key=lambda question: question.qa_id)
    by_type: dict[str, list[int]] = defaultdict(list)
    for index, question in enumerate(ordered):
        by_type[question.question_type].append(index)
    for name, indices in by_type.items():
        rng = derive_rng(seed, "validate", "positions", name)
        options = len(ordered[indices[0]].options)
        first = rng.randrange(options)  # random, or the first positions would get the remainder of every type
        positions = [(first + place) % options for place in range(len(indices))]
        rng.shuffle(positions)
        for index, position in zip(indices, positions, strict=True):
            ordered[index] = _with_answer_at(ordered[index], position, seed)
    return ordered


def _with_answer_at(question: Question, position: int, seed: int) -> Question:
    others = sorted(option for option in question.options if option != question.answer)
    derive_rng(seed, "validate", "options", question.qa_id).shuffle(others)
    return replace(question, options=(*others[:position], question.answer, *others[position:]))


def refuse_too_many(quarantined: int, rows: int, params: ValidateParams, reasons: Mapping[str, int]) -> None:
    """Raise InputError if no row is clean, or if more than `validate.max_quarantined` of the rows are not.

    quarantined: rejected questions and unparsable outputs together. rows: these and the clean questions.
    """
    most = ", ".join(f"{name} {count}" for name, count in Counter(reasons).most_common(3))
    if quarantined == rows:
        raise InputError(f"validate: none of {rows} rows is clean ({most or 'no rows'}); see tables/raw.jsonl")
    if quarantined > params.max_quarantined * rows:
        raise InputError(
            f"validate: {quarantined} of {rows} rows are quarantined, {quarantined / rows:.1%}, more than "
            f"validate.max_quarantined {params.max_quarantined:.1%} ({most}); see tables/quarantine.parquet"
        )


def check_accounting(curated: Curated, params: ValidateParams) -> None:
    """Raise InputError if too many rows are quarantined, or if the clean questions fail the suite."""
    refused = len(curated.quarantined) + len(curated.unparsable)
    reasons = curated.report["quarantined_by_reason"] | {UNPARSABLE: len(curated.unparsable)}
    refuse_too_many(refused, refused + len(curated.clean), params, reasons)
    check_clean(curated.clean, params)
