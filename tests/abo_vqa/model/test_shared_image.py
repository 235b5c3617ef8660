"""Sharing an image among its questions is exact: losses, gradients and trained weights are those of one each."""

from pathlib import Path
from typing import Any

import pytest
import torch

from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.families.family import FEATURES
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.plan import asked_row, audit_labels, training_questions
from abo_vqa.training.trainer import greedy_hits, train_arm
from adapted import adapted, gradient, question_losses

MIXED = ArmParams(options_first=0.5, options_last=0.5)


@pytest.fixture(params=["llava", "llava-next"])
def params(request: pytest.FixtureRequest, tiny_params: Params) -> Params:
    """Parameters without dropout, over either kind of model."""
    train = tiny_params.train
    exact = train.model_copy(update={"lora": train.lora.model_copy(update={"dropout": 0.0})})
    model = tiny_params.model
    if request.param == "llava-next":
        model = model.model_copy(update={"base": str(request.getfixturevalue("tiny_next"))})
    return tiny_params.model_copy(update={"train": exact, "model": model})


def collators(params: Params, images: dict[str, bytes], folder: Path) -> dict[str, Any]:
    base, processor = load_base(params.model), load_processor(params.model)
    features = ImageFeatures(folder, images, base, processor)
    return {
        "question": QuestionCollator(processor, images, 8192),
        "image": ImageCollator(processor, images, features, 8192),
        "image, by pixels": ImageCollator(processor, images, None, 8192),
    }


def test_losses_and_gradients_are_those_of_one_sequence_a_question(
    params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    made = collators(params, images, tmp_path)
    dataset = training_questions(rows, MIXED, 1, 3, by_image=True)
    examples = [dataset[place] for place in range(7)]  # the fourth image with one of its two questions
    model = adapted(params, seed=0, spread=0.02)
    end = made["image"].tokenizer.eos_token_id
    losses, gradients = {}, {}
    for kind, collator in made.items():
        losses[kind] = question_losses(model, collator(examples), end)
        assert len(losses[kind]) == len(examples)
        losses[kind].sum().backward()
        gradients[kind] = gradient(model)
    for kind in ("image", "image, by pixels"):
        assert torch.allclose(losses[kind], losses["question"], rtol=1e-6, atol=1e-6)
        assert (gradients[kind] - gradients["question"]).norm() < 1e-6 * gradients["question"].norm()


def test_segments_do_not_see_each_other(
    params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    collator = collators(params, images, tmp_path)["image"]
    model = load_base(params.model)
    first, second = training_questions(rows[:2], MIXED, 1, 3, by_image=True)
    changed = second | {"text": "Something quite different?"}
    end = collator.tokenizer.eos_token_id
    with torch.no_grad():
        before = question_losses(model, collator([first, second]), end)
        after = question_losses(model, collator([first, changed]), end)
    assert after[0] == pytest.approx(before[0].item(), rel=1e-6)
    assert abs(after[1] - before[1]) > 1e-5 * before[1], "the changed question has another loss"


def test_the_weights_after_several_steps_are_the_naive_ones(
    params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    made = collators(params, images, tmp_path)
    dataset = training_questions(rows, MIXED, 3, 3, by_image=True)
    trained = {}
    for kind in ("question", "image"):
        torch.manual_seed(0)
        result = train_arm(load_base(params.model), made[kind], dataset, [], params.train, 3, tmp_path / kind)
        assert len(result.curve) == 6
        trained[kind] = torch.cat([p.detach().flatten() for p in result.model.parameters() if p.requires_grad])
    start = torch.zeros_like(trained["image"])
    # Adam in float32 amplifies the last bits: 4e-7 with AVX-512, 1.25e-6 with AVX2.
    assert (trained["image"] - trained["question"]).norm() < 5e-6 * trained["question"].norm()
    assert not torch.equal(trained["image"], start)


def test_labels_are_audited_in_shared_sequences_too(
    params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    collator = collators(params, images, tmp_path)["image"]
    dataset = training_questions(rows, MIXED, 1, 3, by_image=True)
    assert "labels: " in audit_labels(collator, dataset)


def test_features_are_computed_once_and_belong_to_model_and_bytes(
    tiny_params: Params, images: dict[str, bytes], tmp_path: Path
) -> None:
    base, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    some = dict(list(images.items())[:2])
    features = ImageFeatures(tmp_path, some, base, processor)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(files) == 2
    again = ImageFeatures(tmp_path, some | {"another name": some["image-0"]}, base, processor)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == files
    assert torch.equal(again["another name"].inputs[FEATURES], features["image-0"].inputs[FEATURES])
    with torch.no_grad():
        base.model.multi_modal_projector.linear_2.bias += 1
    other = ImageFeatures(tmp_path, some, base, processor)
    assert not torch.equal(other["image-0"].inputs[FEATURES], features["image-0"].inputs[FEATURES])


def test_greedy_hits_are_what_generation_gets(
    root: Path, tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    demo = tiny_params.model_copy(
        update={"model": tiny_params.model.model_copy(update={"base": str(root / "models/demo")})}
    )
    collator, model = collators(demo, images, tmp_path)["image"], load_base(demo.model)
    asked = [asked_row(row, False) for row in rows]
    scorer = Scorer(model, collator, 8, 512)
    said = [scorer.ask(row["image"], [Prompt(row["text"], ())])[0].text for row in asked]
    assert all(said), "the demo's base model answers every question"
    # Right where the answer asked for is the one it gives, wrong elsewhere.
    gold = [
        row | {"answer": text if n % 3 else "nonsense"} for n, (row, text) in enumerate(zip(asked, said, strict=True))
    ]
    hits = [
        hit
        for start in range(0, len(gold), 4)
        for hit in greedy_hits(model, collator(gold[start : start + 4]), collator.processor.ends)
    ]
    assert hits == [bool(n % 3) for n in range(len(gold))]
