"""Every repair by its name: what it mends, what it leaves, and that it can be switched off."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abo_vqa.common.params import Params
from abo_vqa.common.params.data import ValidateParams
from abo_vqa.common.schema import QUESTION_TYPES, QuestionType
from abo_vqa.common.words import clean_text
from abo_vqa.generators.recorded import read_recorded
from abo_vqa.questions.parse import flatten
from abo_vqa.questions.repair import repair_options, repair_spelling
from abo_vqa.questions.schema import Question
from abo_vqa.questions.stage import raw_output
from abo_vqa.questions.validate import check_clean, curate
from paths import ROOT
from small_archives import real_data
from small_outputs import COUNT, GOOD, OUTPUTS, output_of, questions_of, raw, repairs

sys.path.append(str(ROOT / "benchmarks"))
from fuzz import damaged_outputs

FOUR = ["red", "blue", "tan", "gray"]
# Other questions of the type, whose answers can stand in for a missing distractor.
LIKE = [
    GOOD | {"answer": value, "options": [value, *"xyz"]} for value in ("red", "blue", "tan", "gray", "pink", "lime")
]


@pytest.fixture
def params(make_params: Callable[..., Params]) -> ValidateParams:
    return make_params({"validate": {"suite": str(ROOT / "expectations/questions.json")}}).validate_


def mended(params: ValidateParams, *entries: dict, seed: int = 1) -> list[Question]:
    return repair_options(questions_of(*entries), params, seed)


@pytest.mark.parametrize(
    ("answer", "options", "meant", "left"),
    [
        ("B", FOUR, "blue", FOUR),
        ("b)", FOUR, "blue", FOUR),
        ("(C).", FOUR, "tan", FOUR),
        ("Option D", FOUR, "gray", FOUR),
        ("option_d", FOUR, "gray", FOUR),
        ("B) blue", FOUR, "blue", FOUR),
        ("B. Blue", FOUR, "blue", FOUR),
        ("B) red", FOUR, "b) red", FOUR),
        ("E", FOUR, "e", FOUR),
        ("J", list(map(str, range(10))), "9", list(map(str, range(10)))),
        ("K", list(map(str, range(10))), "k", list(map(str, range(10)))),
        ("ſ", list(map(str, range(20))), "18", list(map(str, range(20)))),
        (
            "I) ten",
            [f"{letter}) {letter}{letter}" for letter in "abcdefgh"] + ["i) ten"],
            "ten",
            [2 * letter for letter in "abcdefgh"] + ["ten"],
        ),
        ("blue", FOUR, "blue", FOUR),
        ("B", ["A) red", "B) blue"], "blue", ["red", "blue"]),
        ("b: blue", ["a: red", "b: blue"], "blue", ["red", "blue"]),
        ("blue", ["(A) red", "(B) blue"], "blue", ["red", "blue"]),
        ("B) blue", ["A. red", "B. blue"], "blue", ["red", "blue"]),
        ("A", ["A.M.", "P.M."], "a.m", ["a.m", "p.m"]),
        ("B", ["A lamp", "A chair", "A cup"], "a chair", ["a lamp", "a chair", "a cup"]),
        ("B", {"A": "red", "B": "C"}, "c", ["red", "c"]),
        ("B", ["c", "d", "b", "e"], "b", ["c", "d", "b", "e"]),
        ("b", ["s", "m", "l", "xl"], "b", ["s", "m", "l", "xl"]),
        ("A++", ["A+++", "A+", "A++", "B+"], "a++", ["a+++", "a+", "a++", "b+"]),
        ("C++", ["Rust", "Java", "Ada", "C++"], "c++", ["rust", "java", "ada", "c++"]),
        ("B", ["S", "中", "L", "XL"], "b", ["s", "中", "l", "xl"]),
        ("B", ["中", "国", "大", "小"], "国", ["中", "国", "大", "小"]),
        ("a-line", ["a-line", "b-line"], "a-line", ["a-line", "b-line"]),
    ],
)
def test_letters_are_read_where_they_are_clear(answer, options, meant, left):
    [question] = questions_of(GOOD | {"answer": answer, "options": options})
    assert (question.answer, list(question.options)) == (meant, left)


def test_letters_of_a_whole_file_mean_what_its_texts_say(params):
    """The other project's file has both: the letter, which is read, and the text, which it must be."""
    path = real_data() / "qa/four_option_letters.csv"
    outputs = list(read_recorded(path))
    import pandas as pd

    texts = pd.read_csv(path, dtype=str, keep_default_na=False)
    wanted = Counter(
        zip(
            texts["path"],
            texts["question"].str.split().str.join(" "),
            texts["final_answer"].map(clean_text),
            strict=True,
        )
    )
    spelled = repair_spelling(flatten(outputs).questions, repairs("fold"))
    assert Counter((q.image_path, q.question, q.answer) for q in spelled) == wanted
    curated = curate(outputs, params, 1)
    counts = curated.report["questions"]
    assert counts["read"] == 13057 == counts["clean"] + counts["quarantined"]
    check_clean(curated.clean, params)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "color"),
        ({"question": "Which colour?"}, "color"),
        ({"question": "What is it made of?"}, "material"),
        ({"question": "What material is it?"}, "material"),
        ({"question": "What shape is it?"}, "shape"),
        ({"question": "What pattern is it?"}, "attribute"),
        ({"question": "How many are red?"}, "attribute"),
        ({"question": "How many are red?", "type": None}, "counting"),
        ({"type": "existential", "question": "Is it?"}, "yes/no"),
        ({"answer": "No"}, "yes/no"),
        ({"options": ["yes", "no", "a", "b"]}, "yes/no"),
        ({"type": "counting", "question": "How many colors?"}, "counting"),
        ({"type": "comparison"}, "comparison"),
        ({"type": None}, "color"),
    ],
)
def test_types_are_split(changes, expected):
    assert questions_of(GOOD | changes)[0].question_type == expected


def test_a_subject_claims_questions_of_its_kind_wherever_its_row_is(monkeypatch):
    size = QuestionType("size", "comparison", re.compile("height"))
    monkeypatch.setitem(QUESTION_TYPES, "size", size)
    asked = [{"type": "comparison", "question": "More or fewer?"}, {"type": "comparison", "question": "What height?"}]
    asked += [{"type": "attribute", "question": "What height?"}]
    assert [q.question_type for q in questions_of(*(GOOD | one for one in asked))] == [
        "comparison", "size", "attribute",
    ]  # fmt: skip


def test_number_words_become_digits_where_something_is_counted():
    counted, other = questions_of(COUNT | {"answer": "Three", "options": ["zero", "three", "twenty", "many"]},
                                  GOOD | {"answer": "two", "options": ["one", "two"]})  # fmt: skip
    assert (counted.answer, counted.options) == ("3", ("0", "3", "20", "many"))
    assert (other.answer, other.options) == ("two", ("one", "two"))


def test_an_absent_answer_takes_the_place_of_any_option(params):
    entries = [GOOD | {"answer": "pink"} for _ in range(200)]
    found = mended(params, *entries)
    assert all(set(q.options) - set(FOUR) == {"pink"} and len(set(q.options)) == 4 for q in found)
    places = Counter(question.options.index("pink") for question in found)
    assert min(places[place] for place in range(4)) > 25, "no position is favoured"
    assert {question.repairs for question in found} == {("split_types", "put_answer_into_options")}


def test_extra_options_go_but_never_the_answer(params):
    entries = [COUNT | {"answer": str(number % 11), "options": list(range(11))} for number in range(220)]
    found = mended(params, *entries)
    assert all(q.answer in q.options and len(set(q.options)) == 4 for q in found)
    assert {question.repairs for question in found} == {("drop_extra_option",)}
    kept = Counter(option for q in found for option in q.options if option != q.answer)
    assert min(kept[str(number)] for number in range(11)) > 25, "the first ones are not favoured"


@pytest.mark.parametrize("options", [["red", "blue", "tan"], ["red"], [], None, ["red", "red", "blue", ""]])
def test_missing_empty_and_repeated_options_are_drawn_from_like_questions(params, options):
    *_, question = mended(params, *LIKE, GOOD | {"options": options})
    assert len(set(question.options)) == len(question.options) == 4 and question.answer in question.options
    assert set(question.options) <= {"red", "blue", "tan", "gray", "pink", "lime"}
    assert question.repairs[-1] == "fill_missing_distractor"


def test_distractors_are_drawn_as_often_as_they_are_answers(params):
    often = [GOOD | {"answer": "blue"}] * 90 + [
        GOOD | {"answer": value} for value in ("tan", "gray", "pink", "two words")
    ]
    found = mended(params, *often, *[GOOD | {"options": ["red", "brown", "gold"]}] * 100)[-100:]
    drawn = Counter(question.options[-1] for question in found)
    assert drawn["blue"] > 80 and "two words" not in drawn


def test_fillers_of_yes_no_and_counting_questions_are_of_their_kind(params):
    sure = GOOD | {"type": "existential", "answer": "yes", "options": ["yes", "no", "maybe", "partially"]}
    entries = [
        sure,
        COUNT,
        *(COUNT | {"answer": number} for number in (0, 5, 7, 36, 40, 50)),
        COUNT | {"options": ["3"]},
    ]
    *_, counted, asked = mended(params, *entries, sure | {"options": ["yes", "no"]})
    assert set(counted.options) == {"0", "3", "5", "7"}
    assert set(asked.options) == {"yes", "no", "maybe", "partially"}


@pytest.mark.parametrize(
    "answer",
    ["E", "e) pink", "B) red", "Option F", "option_g", "option7", 0, 3, 1.0, "two", float("nan"), "N/A", "null"],
)
def test_an_answer_that_only_stands_for_something_is_no_option(params, answer):
    *_, question = mended(params, *LIKE, GOOD | {"answer": answer})
    assert list(question.options) == FOUR and question.answer not in FOUR


def test_booleans_and_numbers_have_one_spelling():
    asked, counted = questions_of(
        GOOD | {"answer": True, "options": ["True", False]}, COUNT | {"answer": 3.0, "options": ["3.0", 2, "1", "4.0"]}
    )
    assert (asked.answer, asked.options, asked.question_type) == ("yes", ("yes", "no"), "yes/no")
    assert (counted.answer, counted.options) == ("3", ("3", "2", "1", "4"))


def test_an_answer_that_no_question_may_have_is_nobody_s_distractor(params):
    bad = ["red</s>", "r" * 51, "\ufffd", "<image>"]
    entries = [GOOD | {"answer": answer, "options": [answer, *"xyz"]} for answer in bad * 20]
    *_, question = mended(params, *entries, GOOD | {"options": ["red", "blue", "tan"]})
    assert question.options == ("red", "blue", "tan")


def test_too_few_like_answers_leave_the_question_as_it_is(params):
    [question] = mended(params, GOOD | {"options": ["red", "blue"]})
    assert question.options == ("red", "blue") and "fill_missing_distractor" not in question.repairs


BROKEN = {
    "read_letters": GOOD | {"answer": "B"},
    "fold": GOOD | {"answer": "Red."},
    "split_types": GOOD | {"type": "existential"},
    "number_words": COUNT | {"answer": "three"},
    "put_answer_into_options": GOOD | {"answer": "pink"},
    "drop_extra_option": GOOD | {"options": [*FOUR, "pink"]},
    "fill_missing_distractor": GOOD | {"options": FOUR[:3]},
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_repair_is_listed_counted_and_switched_off_by_its_name(params, name):
    outputs = [output_of(BROKEN[name], *LIKE, COUNT)]
    with_it = curate(outputs, params, 1)
    question = next(question for question in with_it.clean if question.qa_id.endswith("-0"))
    assert name in question.repairs
    assert with_it.report["repairs"][name] == sum(name in question.repairs for question in with_it.clean)
    off = params.model_copy(update={"repairs": repairs(*({name} | (set() if name != "fold" else {"read_letters"})))})
    without = curate(outputs, off, 1)
    assert name not in without.report["repairs"]
    if name == "fold":  # then the answer as it stands is put into the options
        question = next(question for question in without.clean if question.qa_id.endswith("-0"))
        assert question.answer == "Red." and "put_answer_into_options" in question.repairs
    else:
        [given] = [question for question, _ in without.quarantined if question.qa_id.endswith("-0")]
        assert given == flatten(outputs).questions[0]


def test_a_sound_question_is_left_alone(params):
    comparison = GOOD | {"type": "comparison"}
    assert mended(params, comparison, COUNT) == flatten([output_of(comparison, COUNT)]).questions


@pytest.mark.parametrize("name", ["put_answer_into_options", "drop_extra_option", "fill_missing_distractor"])
def test_every_question_has_its_own_draw_under_every_seed(params, name):
    entries = [*LIKE, *[BROKEN[name]] * 30]
    first, second = ([question.options for question in mended(params, *entries, seed=seed)[-30:]] for seed in (1, 2))
    assert first != second and len(set(first)) > 1


def test_draws_depend_on_the_seed_and_the_question_not_on_the_order(params):
    texts = [output_of(*LIKE, entry).output for entry in BROKEN.values()]
    outputs = [raw(text, number) for number, text in enumerate(texts)]
    assert curate(outputs, params, 1).clean == curate(outputs[::-1], params, 1).clean
    assert curate(outputs, params, 1).clean != curate(outputs, params, 2).clean


@given(st.lists(OUTPUTS, max_size=6), st.integers(0, 99))
@settings(max_examples=60)
def test_repairs_keep_the_answer_and_the_number_of_questions(texts, seed):
    params = ValidateParams(suite="", repairs=repairs(), options=4, counting_max=10, max_quarantined=1)
    spelled = repair_spelling(flatten([raw(text, number) for number, text in enumerate(texts)]).questions, repairs())
    found = repair_options(spelled, params, seed)
    assert [(q.qa_id, q.question, q.answer) for q in found] == [(q.qa_id, q.question, q.answer) for q in spelled]
    for question in found:
        assert len(question.options) <= 4 or not question.readable
    for question, before in zip(found, spelled, strict=True):
        assert question.answer in question.options or set(question.options) <= set(before.options), (
            "nothing is invented"
        )


def test_damaged_outputs_are_accounted_for(params):
    outputs = [raw_output(asdict(output)) for output in damaged_outputs(4000, 7)]
    curated = curate(outputs, params, 7)
    report = curated.report
    assert report["outputs"]["read"] == 4000 == sum(report["outputs"]["read_as"].values())
    assert report["outputs"]["with_questions"] + len(curated.unparsable) == 4000
    ids = [q.qa_id for q in curated.clean] + [q.qa_id for q, _ in curated.quarantined]
    assert sorted(ids) == sorted(q.qa_id for q in curated.as_given) and len(set(ids)) == len(ids)
    assert all(reasons for _, reasons in curated.quarantined)
    assert len(curated.clean) > 1000 < len(curated.quarantined) and len(curated.unparsable) > 300
    assert set(report["outputs"]["read_as"]) >= {"plain", "unfenced", "embedded", "repaired", "not_read"}
    check_clean(curated.clean, params)
    json.dumps(report)
