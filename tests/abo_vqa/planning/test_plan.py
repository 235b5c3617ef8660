"""Plans: what is counted, what grows with what, the published geometry on a T4, and the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPVisionConfig, GemmaConfig, LlavaConfig
from typer.testing import CliRunner

from abo_vqa.commands.app import app
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.planning.cards import CARDS, GIB, this_processor
from abo_vqa.planning.plan import Planned, Step, plan
from abo_vqa.planning.work import PER_IMAGE, prompts_per_question, work_of

PAPER = {"sample": {"products": 12000}, "train": {"max_questions": None}}


@pytest.fixture(scope="module")
def llava_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of Intel/llava-gemma-2b as published, without weights."""
    folder = tmp_path_factory.mktemp("llava-gemma-2b")
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = GemmaConfig(vocab_size=256064, tie_word_embeddings=True)
    text.update({
        "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
        "num_key_value_heads": 1, "head_dim": 256,
    })  # fmt: skip
    LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=256000, vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    ).save_pretrained(folder)  # fmt: skip
    return folder


def planned(params: Params, card: Any = CARDS["T4"]) -> Planned:
    return plan(params, work_of(params, {}), card)


def stage(of: Planned, name: str) -> Step:
    return next(step for step in of.steps if step.stage == name)


def of_paper(make_params: Callable[..., Params], base: Path, **train: Any) -> Params:
    values = json.loads(json.dumps(PAPER))
    values["train"] |= train
    params = make_params(values)
    return params.model_copy(update={"model": params.model.model_copy(update={"base": str(base)})})


def test_tables_of_the_same_sample_are_counted_and_others_are_not(make_params: Callable[..., Params]) -> None:
    params = make_params({"sample": {"products": 100}, "train": {"max_questions": None}})
    tables = {"train": (70, 300), "validation": (10, 40), "test": (15, 60)}
    counted = work_of(params, tables)
    assert counted.measured and (counted.train_questions, counted.test_questions) == (300, 60)
    for other in ({}, {"train": (700, 3000), "validation": (100, 400), "test": (150, 600)}, {"train": (100, 400)}):
        computed = work_of(params, other)
        assert not computed.measured and computed.test_questions == round(10 * PER_IMAGE)
    assert work_of(make_params({"train": {"max_questions": 90}}), {}).train_questions == 90


def test_prompts_are_those_that_the_evaluation_asks(make_params: Callable[..., Params]) -> None:
    conditions = {
        "open": {"options": "none"},
        "circular": {"order": "rotated", "counterparts": False},
        "shown": {"counterparts": False},
    }
    compare = {"planned": [], "max_blind": {}}
    params = make_params({"evaluate": {"conditions": conditions}, "compare": compare})
    assert prompts_per_question(params) == 3 + 4 + 1


def test_the_papers_model_fits_a_t4_and_takes_what_was_measured(
    make_params: Callable[..., Params], llava_gemma: Path
) -> None:
    fast = planned(of_paper(make_params, llava_gemma))
    train = stage(fast, "train")
    assert train.memory <= 13.6 * GIB, "the passes are fitted to the card"
    assert stage(fast, "evaluate").memory < 8 * GIB
    # The letter of the paper: three questions a pass, each with its image.
    letter = stage(
        planned(of_paper(make_params, llava_gemma, packing="question", batch_size=3, accumulation=6)), "train"
    )
    assert letter.memory <= 13.5 * GIB
    assert letter.seconds > 3 * train.seconds, "an image once for all its questions"
    bounded = stage(planned(of_paper(make_params, llava_gemma, tokens_per_pass=900)), "train")
    assert bounded.memory <= 8.9e9, "18 questions a step, in several passes"


def test_checkpointing_keeps_less(make_params: Callable[..., Params], llava_gemma: Path) -> None:
    whole, checkpointed = (
        stage(planned(of_paper(make_params, llava_gemma, tokens_per_pass=2000, gradient_checkpointing=on)), "train")
        for on in (False, True)
    )
    assert checkpointed.memory < whole.memory / 2


def test_half_the_work_takes_half_the_time(make_params: Callable[..., Params], tiny_base: Path) -> None:
    params = of_paper(make_params, tiny_base, max_questions=4000)
    fewer = of_paper(make_params, tiny_base, max_questions=2000)
    assert stage(planned(params), "train").seconds == pytest.approx(2 * stage(planned(fewer), "train").seconds)
    assert stage(planned(params), "evaluate").runs == 7


def test_a_model_that_is_not_at_hand_says_what_to_do(make_params: Callable[..., Params]) -> None:
    params = make_params({"model": {"base": "models/hub/llava-gemma-2b.json"}})
    with pytest.raises(InputError, match=r"model\.base: the configuration of Intel/llava-gemma-2b cannot be read"):
        plan(params, work_of(params, {}), this_processor())


def test_the_command_prints_the_plan_and_says_what_is_measured(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    said = CliRunner().invoke(app, ["plan", "--card", "L4"])
    assert said.exit_code == 0, said.output
    assert "# Plan for L4: 22.0 GiB, 121 TFLOP/s (data sheet)" in said.output
    rows = [line.split("|")[1].strip() for line in said.output.splitlines() if line.startswith("| ")]
    assert rows == ["stage", "train", "evaluate"]
    assert "Memory: computed" in said.output and "Numbers of questions: " in said.output
