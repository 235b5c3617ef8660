"""Named repairs, each switched by its name in validate.repairs; a question lists those that changed it.

First the spelling, without new content: letters are resolved, case and punctuation folded, types split, number words
written as digits. Then the options: the answer is inserted, extra options are dropped, missing ones drawn. Each
question has a seed, so that its draws do not depend on the order of the questions.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from string import ascii_lowercase

from abo_vqa.common.draws import derive_rng, draw_others
from abo_vqa.common.errors import choose
from abo_vqa.common.params.data import ValidateParams
from abo_vqa.common.schema import ATTRIBUTE, COUNTING, EXISTENTIAL, QUESTION_TYPES, YES_NO
from abo_vqa.common.words import DIGITS, MISSING, UNREADABLE, find_markup, fold, is_number, true_or_false, whole
from abo_vqa.questions.schema import Question

_LABEL = re.compile(r"\s*[(\[]?([A-Za-z])\s*[).:\]]+\s*")
_LONE_LETTER = re.compile(r"[\W_]*(?:(?i:option|choice|answer)[\W_]+)?([A-Za-z])[\W_]*")
_NUMBERED = re.compile(r"(?:option|choice|answer)[\W_]*\d+", re.IGNORECASE)
_LONGEST = 50  # characters of an answer that may be another question's option
_HOW_MANY = re.compile(r"\b(?:how many|number of)\b", re.IGNORECASE)


@dataclass(frozen=True)
class OptionRepair:
    """The settings of the option repairs.

    options: the required number. seed: of the draws. distractors: by question type, the values that can replace missing
    options, with their frequencies.
    """

    options: int
    seed: int
    distractors: Mapping[str, Mapping[str, int]]


def repair_spelling(questions: Iterable[Question], repairs: Mapping[str, bool]) -> list[Question]:
    """Return the questions, in order, with letters resolved, texts folded, types split and number words as digits.

    repairs: switches by name. Raises InputError for an unknown name.
    """
    for name in repairs:
        choose(SPELLING | OPTIONS, name, "validate.repairs")
    wanted = {name: mend for name, mend in SPELLING.items() if repairs.get(name)}
    return [_mend(question, wanted) for question in questions]


def repair_options(questions: Sequence[Question], params: ValidateParams, seed: int) -> list[Question]:
    """Return the questions, in order, with `params.options` distinct options and the answer among them.

    A question with valid options is unchanged. One that is not readable, without an answer, or with too few known
    distractors for its type stays invalid.
    """
    setting = OptionRepair(params.options, seed, _distractors(questions, params))
    wanted = {name: partial(mend, setting) for name, mend in OPTIONS.items() if params.repairs.get(name)}
    return [_mend(question, wanted) if question.readable else question for question in questions]


def _mend(question: Question, repairs: Mapping[str, Callable[[Question], Question]]) -> Question:
    for name, mend in repairs.items():
        mended = mend(question)
        if mended != question:
            question = replace(mended, repairs=(*question.repairs, name))
    return question


def _read_letters(question: Question) -> Question:
    """Strip the letters from options lettered a, b, c, ..., and replace an answer that is a letter by its option."""
    options, lettered = unlettered(question.options)
    return replace(question, options=options, answer=meant(question.answer, options, lettered))


def unlettered(given: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return the options without their letters a, b, c, ..., and whether they had them."""
    labels = [label for option in given if (label := _LABEL.match(option))]
    options = tuple(label.string[label.end() :] for label in labels)
    letters = "".join(label[1].lower() for label in labels)
    lettered = any(options) and len(labels) == len(given) and letters == ascii_lowercase[: len(given)]
    return (options, True) if lettered else (tuple(given), False)


def meant(answer: str, options: Sequence[str], lettered: bool) -> str:
    """Return the option that an answer names by its letter ("B", "B) red", "option b"), otherwise the answer."""
    known = [fold(option) for option in options]
    letter, label = _LONE_LETTER.fullmatch(answer), _LABEL.match(answer)
    # Options without letters may be letters themselves, such as the print on a cap.
    ambiguous = not lettered and not set(ascii_lowercase).isdisjoint(known)
    # "C++" may be an option; of options with letters, "C" is the third even if another one is a C.
    if letter and not ambiguous and (len(fold(answer)) == 1 or fold(answer) not in known):
        place = ascii_lowercase.index(letter[1].lower())
        return options[place] if place < len(options) else answer
    if label and fold(answer) not in known:
        place = ascii_lowercase.index(label[1].lower())
        # "B) red" where the second option is blue contradicts itself; the expectations reject it.
        return options[place] if known[place : place + 1] == [fold(answer[label.end() :])] else answer
    return answer


def is_letter(answer: str) -> bool:
    """Return whether an answer is the letter of an option, or begins with it as a label ("B) red")."""
    return _LONE_LETTER.fullmatch(answer) is not None or _LABEL.match(answer) is not None


def _fold(question: Question) -> Question:
    return replace(question, answer=_folded(question.answer), options=tuple(map(_folded, question.options)))


def _folded(text: str) -> str:
    """Return a text folded, with one spelling of booleans and numbers: generators mix "True" and true, 3.0 and 3."""
    return true_or_false(whole(fold(text)))


def _split_types(question: Question) -> Question:
    """Set the type by which results are reported, from the generator's kind and the question."""
    return replace(question, question_type=_question_type(question))


def _question_type(question: Question) -> str:
    kind = _kind(question)
    rows = [row for row in QUESTION_TYPES.values() if row.kind == kind]
    # A row without a subject takes what no subject of its kind claims.
    rows.sort(key=lambda row: row.subject is None)
    about = (row.name for row in rows if row.subject is None or row.subject.search(question.question))
    return next(about, ATTRIBUTE)


def _kind(question: Question) -> str:
    if question.answer in ("yes", "no") or {"yes", "no"} <= set(question.options):
        return EXISTENTIAL
    if question.kind in {row.kind for row in QUESTION_TYPES.values()}:
        return question.kind
    return COUNTING if _HOW_MANY.search(question.question) else ATTRIBUTE


def _number_words(question: Question) -> Question:
    if question.question_type != COUNTING:
        return question
    options = tuple(DIGITS.get(option, option) for option in question.options)
    return replace(question, answer=DIGITS.get(question.answer, question.answer), options=options)


def _put_answer_into_options(setting: OptionRepair, question: Question) -> Question:
    """Insert a missing answer at a random position; it replaces an option if the number of options is right."""
    options = list(question.options)
    if not question.answer or question.answer in options or _is_reference(question.answer, options):
        return question
    rng = derive_rng(setting.seed, "validate", "put_answer_into_options", question.qa_id)
    if len(_distinct(options)) == len(options) == setting.options:
        options[rng.randrange(len(options))] = question.answer
    else:
        options.insert(rng.randrange(len(options) + 1), question.answer)
    return replace(question, options=tuple(options))


def _is_reference(answer: str, options: Sequence[str]) -> bool:
    """Return whether an answer only stands for something: a letter, a missing value, or an index among words."""
    is_index = is_number(answer) and any(options) and not any(map(is_number, options))
    return is_letter(answer) or bool(_NUMBERED.fullmatch(answer)) or answer in MISSING or is_index


def _drop_extra_option(setting: OptionRepair, question: Question) -> Question:
    """Keep the answer and random others: with the first ones of 0, 1, ..., 10, a large answer would stand out."""
    if len(question.options) <= setting.options:
        return question
    distinct = _distinct(question.options)
    others = [option for option in distinct if option != question.answer]
    rng = derive_rng(setting.seed, "validate", "drop_extra_option", question.qa_id)
    room = setting.options - (question.answer in distinct)
    kept = {question.answer, *rng.sample(others, min(room, len(others)))}
    return replace(question, options=tuple(option for option in distinct if option in kept))


def _fill_missing_distractor(setting: OptionRepair, question: Question) -> Question:
    """Draw missing options, also in place of empty or repeated ones, from answers to questions of the same type."""
    distinct = _distinct(question.options)
    missing = setting.options - len(distinct)
    if missing <= 0 or len(question.options) > setting.options or question.answer not in distinct:
        return question
    known = setting.distractors.get(question.question_type, {})
    left = {value: count for value, count in known.items() if value not in distinct}
    if len(left) < missing:
        return question
    rng = derive_rng(setting.seed, "validate", "fill_missing_distractor", question.qa_id)
    return replace(question, options=(*distinct, *draw_others(question.answer, left, missing, rng)))


def _distinct(options: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, options)))


def _distractors(questions: Iterable[Question], params: ValidateParams) -> dict[str, dict[str, int]]:
    """Count the one-word answers by type; for counting, those within range only.

    For yes/no, count the options instead: those other than yes and no are fillers anyway.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        values = question.options if question.question_type == YES_NO else (question.answer,)
        if question.readable:
            found[question.question_type].update(filter(_can_distract, values))
    counts = set(map(str, range(params.counting_max + 1)))
    found[COUNTING] = Counter({value: count for value, count in found[COUNTING].items() if value in counts})
    return {kind: dict(sorted(values.items())) for kind, values in found.items()}


def _can_distract(value: str) -> bool:
    return len(value.split()) == 1 and len(value) <= _LONGEST and UNREADABLE not in value and not find_markup(value)


# Repairs by their names in validate.repairs, in order of application. A new one is a function and an entry here, and a
# switch in params.yaml.
SPELLING: dict[str, Callable[[Question], Question]] = {
    "read_letters": _read_letters,
    "fold": _fold,
    "split_types": _split_types,
    "number_words": _number_words,
}
OPTIONS: dict[str, Callable[..., Question]] = {
    "put_answer_into_options": _put_answer_into_options,
    "drop_extra_option": _drop_extra_option,
    "fill_missing_distractor": _fill_missing_distractor,
}
