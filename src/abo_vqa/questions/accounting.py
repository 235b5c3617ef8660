"""The counts of a validation, checked to add up: no output and no question is lost (paper, section 3.1)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abo_vqa.common.schema import COMPOSITION, RawOutput
from abo_vqa.questions.schema import Question

UNPARSABLE = "unparsable"


def accounting(
    outputs: Sequence[RawOutput],
    questions: Sequence[Question],
    unparsable: Sequence[RawOutput],
    failing: Mapping[str, list[str]],
) -> dict[str, Any]:
    """Return the counts of a validation, checked to add up, in total and for each generator.

    questions: all of them, after repair. outputs = with_questions + unparsable; questions = clean + quarantined.
    quarantined_by_reason counts each question once, under the first expectation that it fails, and
    failures_by_expectation under every one. repairs counts the clean questions that list one. composition: number
    of images with the paper's questions (one existential, two attribute, one counting, one comparison), as given and
    among the clean.
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


def composition(kinds: Iterable[str]) -> str:
    """Return the numbers of existential, attribute, counting and comparison questions, such as 1-2-1-1."""
    counts = Counter(kinds)
    return "-".join(str(counts[kind]) for kind in COMPOSITION)


PAPERS_COMPOSITION = composition(kind for kind, count in COMPOSITION.items() for _ in range(count))


def compositions(questions: Iterable[Question]) -> dict[str, str]:
    """Return the composition of every image with questions, by image path."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        kinds[question.image_path].append(question.kind)
    return {image: composition(found) for image, found in kinds.items()}


def _closed(
    outputs: Sequence[RawOutput],
    questions: Sequence[Question],
    unparsable: Sequence[RawOutput],
    failing: Mapping[str, list[str]],
) -> dict[str, Any]:
    clean = [question for question in questions if question.qa_id not in failing]
    refused = [question for question in questions if question.qa_id in failing]
    reasons = Counter(failing[question.qa_id][0] for question in refused)
    with_questions = len({(question.generator, question.product_id) for question in questions})
    counts = {
        "outputs": {"read": len(outputs), "with_questions": with_questions, UNPARSABLE: len(unparsable)},
        "questions": {"read": len(questions), "clean": len(clean), "quarantined": len(refused)},
        "clean_by_type": _count(question.question_type for question in clean),
        "quarantined_by_type": _count(question.question_type for question in refused),
        "quarantined_by_reason": dict(reasons),
        "failures_by_expectation": _count(name for question in refused for name in failing[question.qa_id]),
        "repairs": _count(name for question in clean for name in question.repairs),
        "composition": {"as_given": _with_papers(questions), "clean": _with_papers(clean)},
    }
    assert len(outputs) == with_questions + len(unparsable), counts
    assert len(questions) == len(clean) + sum(reasons.values()), counts
    return counts


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _with_papers(questions: Iterable[Question]) -> dict[str, Any]:
    found = list(compositions(questions).values())
    matching = found.count(PAPERS_COMPOSITION)
    share = round(matching / len(found), 6) if found else None
    return {"images": len(found), PAPERS_COMPOSITION: matching, "share": share}
