"""Only what a model wrote outside its drafts is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.questions.drafts import without_drafts
from abo_vqa.questions.parse import flatten
from small_outputs import COUNT, GOOD, raw

DRAFT, ANSWER = json.dumps({"questions": [COUNT]}), json.dumps({"questions": [GOOD]})


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFT}</think>{ANSWER}",
        f"<think>First: {DRAFT} hmm.</think>\n```json\n{ANSWER}\n```",
        f"<THINK>{DRAFT}</Think>{ANSWER}",
        f"<thinking>{DRAFT}</thinking>{ANSWER}",
        f"< think >{DRAFT}</ think >{ANSWER}",
        f'<think effort="high">{DRAFT}</think>{ANSWER}',
        f"<reasoning>{DRAFT}</reasoning>{ANSWER}",
        f"<thought>{DRAFT}</thought>{ANSWER}",
        f"<scratchpad>{DRAFT}</scratchpad>{ANSWER}",
        f"<seed:think>{DRAFT}</seed:think>{ANSWER}",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>{ANSWER}",
        f"◁think▷{DRAFT}◁/think▷{ANSWER}",
        f"[THINK]{DRAFT}[/THINK]{ANSWER}",
        f"＜think＞{DRAFT}＜/think＞{ANSWER}",
        f"&lt;think&gt;{DRAFT}&lt;/think&gt;{ANSWER}",
        f"<think>a<think>{DRAFT}</think>{DRAFT}</think>{ANSWER}",
        f"<think>{DRAFT}</think><think>{DRAFT}</think>{ANSWER}",
        f"{ANSWER}<think>{DRAFT}",
        f"{ANSWER}\n<think>{DRAFT}</think>",
        f"{DRAFT}</think>{ANSWER}",
        f"{DRAFT}</think>{DRAFT}</think>{ANSWER}",
        f"<think>{DRAFT}</thinking>{ANSWER}",
        f"<think></think>{ANSWER}",
        f"<think/>{ANSWER}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        f"<|channel>thought\n{DRAFT}<channel|>{ANSWER}",
        f"```thinking\n{DRAFT}\n```\n```json\n{ANSWER}\n```",
        f"[INST] <image>\nWrite JSON like {DRAFT} [/INST] {ANSWER}",
        ANSWER,
        f"Sure: {ANSWER}",
    ],
)
def test_drafts_are_not_read(text: str):
    [question] = flatten([raw(text)]).questions
    assert (question.question, question.readable) == (GOOD["question"], True)


@pytest.mark.parametrize(
    "text",
    [f"<think>{DRAFT}", f"<think>a<think>{DRAFT}</think>{DRAFT}", f"{DRAFT}</think>", f"<|channel|>analysis {DRAFT}"],
)
def test_an_output_of_drafts_alone_is_unparsable(text: str):
    parsed = flatten([raw(text)])
    assert not parsed.questions and len(parsed.unparsable) == 1


def test_a_tag_within_a_question_is_no_draft():
    asked = GOOD | {"question": "What does <think> on the box mean?"}
    [question] = flatten([raw(json.dumps([asked]))]).questions
    assert question.question == asked["question"]


PARTS = st.sampled_from(["<think>", "</think>", "◁/think▷", "[THINK]", "<think/>", "{}", " a ", "<", "&lt;think "])


@given(st.lists(PARTS | st.text(max_size=4), max_size=12).map("".join))
def test_what_is_left_has_no_drafts(text: str):
    left = without_drafts(text)
    assert set(left) <= {*text, "\n"} and "</think>" not in left.replace("\n", "")


def test_the_time_is_linear():
    for start in ("<", "&lt;", "<think ", "&lt;think ", "[ ", "```think", "<|channel|>analysis", "<think>", "</think>"):
        without_drafts(start * 20_000 + " " * 20_000)
