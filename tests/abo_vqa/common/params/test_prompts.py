"""Prompts are parameters: their defaults are the paper's, and an arm may have its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from abo_vqa.common.params import ParamsError, check_params
from abo_vqa.common.params.model import PAPER_PROMPT, PromptParams

OWN = {"open": "Q: {question} A:", "options": "Q: {question} ({options}) A:"}


def changed(root, **arms):
    values = YAML(typ="safe", pure=True).load(root / "params.yaml")
    for name, prompt in arms.items():
        values["arms"][name]["prompt"] = prompt
    return check_params(values)


def test_the_committed_prompt_is_the_papers(root):
    params = changed(root)
    assert params.prompt == PAPER_PROMPT
    assert PAPER_PROMPT.text("What color is it?", None) == "What color is it?\nAnswer with just one word."
    assert PAPER_PROMPT.text("What color is it?", ["red", "blue"]) == (
        "What color is it?\nOptions: red, blue\nAnswer with just one option."
    )
    assert PAPER_PROMPT.without_question() == "Answer with just one word."


def test_an_arm_has_its_own_prompt_and_the_others_the_common_one(root):
    params = changed(root, options=OWN)
    assert params.prompt_of("options").text("How many?", ["1", "2"]) == "Q: How many? (1, 2) A:"
    assert params.prompt_of("standard") == params.prompt_of("base") == PAPER_PROMPT


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_no_question_or_option_is_taken_for_a_place(question, options):
    assert PromptParams(**OWN).text(question, options) == f"Q: {question} ({', '.join(options)}) A:"


def test_braces_of_a_question_stay():
    assert PAPER_PROMPT.text("Is it {options} or {x}?", None).startswith("Is it {options} or {x}?\n")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ({"open": "Answer."}, "open: 'Answer.' must contain {question}, each once"),
        ({"open": "{question} {question}"}, "must contain {question}"),
        ({"open": "{question} {options}"}, "must contain {question}"),
        ({"options": "{question}"}, "must contain {options} and {question}"),
        ({"opens": "{question}"}, "unknown parameter"),
    ],
)
def test_a_prompt_without_its_places_is_refused(root, prompt, says):
    with pytest.raises(ParamsError) as error:
        changed(root, options=prompt)
    assert says in str(error.value)
