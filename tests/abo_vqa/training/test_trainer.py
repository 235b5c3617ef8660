"""Training: real NF4, TRL and PEFT on a tiny model; clipping, determinism, the CPU guard, the adapter folder."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    CLIPVisionConfig,
    GemmaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    TrainerCallback,
)

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import ACCURACY, POST_CLIP, PRE_CLIP
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.model.adapters import attach_adapters, save_adapter
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.plan import training_questions
from abo_vqa.training.settings import lora_config
from abo_vqa.training.soundness import check_step
from abo_vqa.training.trainer import TrainingResult, answer_logits, greedy_hits, train_arm

ALWAYS = ArmParams(options_first=1.0, options_last=1.0)


def image_collator(params: Params, images: dict[str, bytes], folder: Path) -> ImageCollator:
    base, processor = load_base(params.model), load_processor(params.model)
    return ImageCollator(processor, images, ImageFeatures(folder / "features", images, base, processor), 4096)


def train(params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], folder: Path) -> TrainingResult:
    collator = image_collator(params, images, folder)
    dataset = training_questions(rows, ALWAYS, params.train.epochs, 3, by_image=True)
    torch.manual_seed(1)
    return train_arm(load_base(params.model), collator, dataset, [], params.train, 3, folder / "scratch")


@pytest.fixture(scope="module")
def trained(
    root: Path, tiny_base: Path, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path_factory: Any
) -> tuple[Params, TrainingResult, Path]:
    from ruamel.yaml import YAML

    from abo_vqa.common.params import check_params

    values = YAML(typ="safe", pure=True).load(root / "params.yaml")
    values["model"]["base"] = str(tiny_base)
    values["train"] |= {"batch_size": 4, "accumulation": 2, "epochs": 3}
    params = check_params(values)
    folder = tmp_path_factory.mktemp("trained")
    result = train(params, rows, images, folder)
    save_adapter(result.model, folder / "adapter", str(tiny_base), "card")
    return params, result, folder / "adapter"


def test_the_language_model_alone_is_quantized(tiny_params: Params) -> None:
    model = load_base(tiny_params.model)
    quantized = [name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"]
    assert len(quantized) == 4 * 7
    assert all(".language_model.layers." in name for name in quantized)
    state = model.model.language_model.layers[0].mlp.up_proj.weight.quant_state
    assert state.quant_type == "nf4"
    assert state.nested


def test_every_step_is_recorded_on_both_sides_of_the_clipping(
    trained: tuple[Params, TrainingResult, Path],
) -> None:
    params, result, _ = trained
    assert [row["step"] for row in result.curve] == list(range(1, 16 * 3 // 8 + 1))
    limit = params.train.max_grad_norm
    clipped = [row for row in result.curve if row[PRE_CLIP] > limit]
    assert clipped, "the test needs a step that clips"
    assert all(row[POST_CLIP] == pytest.approx(limit, rel=1e-3) for row in clipped)
    for row in result.curve:
        assert row[POST_CLIP] <= min(limit, row[PRE_CLIP]) * 1.001


@pytest.mark.parametrize("norm", [PRE_CLIP, POST_CLIP])
def test_the_components_make_up_the_norm(trained: tuple[Params, TrainingResult, Path], norm: str) -> None:
    _, result, _ = trained
    for row in result.curve:
        assert math.hypot(row[f"{norm}/lora_A"], row[f"{norm}/lora_B"]) == pytest.approx(row[norm], rel=1e-4)
        assert row[f"{norm}/language"] == pytest.approx(row[norm], rel=1e-4)
        assert f"{norm}/vision" not in row, "the vision tower is frozen"


def test_the_applied_update_is_clipped_although_the_logged_norm_is_not(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    """Plain SGD moves the weights by rate times the applied gradient, so the weights tell which norm was applied."""
    rate = 0.5
    plain = {
        "optimizer": "sgd", "learning_rate": rate, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0,
        "max_grad_norm": 1e-3, "batch_size": 16, "accumulation": 1, "epochs": 1,
    }  # fmt: skip
    params = tiny_params.model_copy(update={"train": tiny_params.train.model_copy(update=plain)})
    collator = image_collator(params, images, tmp_path)
    dataset = training_questions(rows, ALWAYS, 1, 3, by_image=True)
    result = train_arm(load_base(params.model), collator, dataset, [], params.train, 3, tmp_path / "scratch")
    [row] = result.curve
    assert row[PRE_CLIP] > 100 * params.train.max_grad_norm
    # At the first step B is zero and alone receives a gradient, so its value is its whole movement.
    moved = [p.detach().flatten() for name, p in result.model.named_parameters() if ".lora_B." in name]
    assert torch.cat(moved).norm().item() == pytest.approx(rate * params.train.max_grad_norm, rel=1e-3)


def test_the_adapters_are_trained_in_float32_and_the_base_is_not_touched(
    trained: tuple[Params, TrainingResult, Path],
) -> None:
    _, result, _ = trained
    for name, parameter in result.model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32
    assert result.trainable == sum(p.numel() for n, p in result.model.named_parameters() if "lora_" in n)


def test_training_again_gives_the_same_bytes(
    trained: tuple[Params, TrainingResult, Path],
    rows: list[dict[str, Any]],
    images: dict[str, bytes],
    tmp_path: Path,
) -> None:
    params, result, adapter = trained
    again = train(params, rows, images, tmp_path)
    assert again.curve == result.curve
    save_adapter(again.model, tmp_path / "adapter", params.model.base, "card")
    assert digests(tmp_path / "adapter") == digests(adapter)


class KeptWeights(TrainerCallback):
    """The trainable weights after each step."""

    def __init__(self) -> None:
        self.steps: list[list[torch.Tensor]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append([weight.detach().clone() for weight in model.parameters() if weight.requires_grad])


@pytest.mark.parametrize(("share", "steps"), [(0.0, 1), (0.5, 3), (1.0, 6)])
def test_the_adapter_is_the_mean_of_the_last_steps(
    tiny_params: Params,
    rows: list[dict[str, Any]],
    images: dict[str, bytes],
    tmp_path: Path,
    share: float,
    steps: int,
) -> None:
    settings = tiny_params.train.model_copy(update={"average": share, "epochs": 3})
    kept = KeptWeights()
    collator = image_collator(tiny_params, images, tmp_path)
    dataset = training_questions(rows, ALWAYS, 3, 3, by_image=True)
    base = load_base(tiny_params.model)
    result = train_arm(base, collator, dataset, [], settings, 3, tmp_path / "scratch", callbacks=[kept])
    assert len(kept.steps) == 6
    weights = [weight for weight in result.model.parameters() if weight.requires_grad]
    for weight, last in zip(weights, zip(*kept.steps[-steps:], strict=True), strict=True):
        torch.testing.assert_close(weight.detach(), torch.stack(last).mean(0))


def test_the_mean_is_validated_last_and_the_last_weights_are_not(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    settings = tiny_params.train.model_copy(update={"average": 1.0, "epochs": 3, "save_steps": 2})
    collator = image_collator(tiny_params, images, tmp_path)
    dataset = training_questions(rows, ALWAYS, 3, 3, by_image=True)
    asked, seen = collator([dataset[place] for place in range(6)]), list[dict[str, float]]()
    base = load_base(tiny_params.model)
    result = train_arm(base, collator, dataset, [asked], settings, 3, tmp_path / "scratch", seen.append)
    validated = [row for row in seen if ACCURACY in row]
    assert [row["step"] for row in validated] == [2, 4, 6]
    hits = greedy_hits(result.model.eval(), asked, collator.processor.ends)
    assert result.curve[-1][ACCURACY] == validated[-1][ACCURACY] == result.accuracy == sum(hits) / len(hits)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_saved_adapter_is_the_trained_one(
    trained: tuple[Params, TrainingResult, Path], images: dict[str, bytes]
) -> None:
    params, result, adapter = trained
    collator = QuestionCollator(load_processor(params.model), images, 4096)
    batch = collator([{"qa_id": "q", "image": "image-0", "text": "What color is it?", "answer": "red"}])
    opened = attach_adapters(load_base(params.model), {"trained": adapter})
    assert isinstance(opened, PeftModel)
    with torch.no_grad():
        expected = result.model.eval()(**batch).logits
        base = load_base(params.model)(**batch).logits
        assert torch.equal(opened(**batch).logits, expected)
        assert not torch.allclose(base, expected, atol=1e-3)


def test_evaluating_first_leaves_training_gradients_right(tiny_params: Params, images: dict[str, bytes]) -> None:
    """On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights in evaluation mode and gradients go wrong."""
    collator = QuestionCollator(load_processor(tiny_params.model), images, 4096)
    batch = collator([{"qa_id": "q", "image": "image-0", "text": "What color is it?", "answer": "red"}])

    def gradient(evaluate_first: bool) -> torch.Tensor:
        torch.manual_seed(0)
        base = load_base(tiny_params.model)
        model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
        if evaluate_first:
            with torch.no_grad():
                model.eval()(**batch)
        model.train()(**batch).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    assert torch.equal(gradient(evaluate_first=True), gradient(evaluate_first=False))


def test_a_diverging_run_stops_with_a_reason(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    wild = tiny_params.train.model_copy(update={"learning_rate": 1e30, "warmup": 0.0})
    with pytest.raises(InputError, match=r"is not finite; lower train\.learning_rate"):
        train(tiny_params.model_copy(update={"train": wild}), rows, images, tmp_path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"step": 1, "loss": 0.0, PRE_CLIP: 1.0}, "the labels contain nothing to predict"),
        ({"step": 1, "loss": 2.0, PRE_CLIP: 0.0}, "no trainable parameter receives a gradient"),
        ({"step": 7, "loss": math.nan, PRE_CLIP: 1.0}, "step 7: loss nan or gradient norm 1.0 is not finite"),
        ({"step": 7, "loss": 2.0, PRE_CLIP: math.inf}, "step 7: loss 2.0 or gradient norm inf is not finite"),
    ],
)
def test_an_unsound_step_stops_the_run(row: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_step(row)
    check_step({"step": 7, "loss": 0.0, PRE_CLIP: 0.0})  # learned by heart, later on: no fault


def test_a_pass_keeps_one_mask_for_all_layers(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    batch = image_collator(tiny_params, images, tmp_path)(training_questions(rows, ALWAYS, 1, 3, by_image=True))
    length = batch["input_ids"].shape[1]
    base = load_base(tiny_params.model)
    model = get_peft_model(base, lora_config(tiny_params.train.lora, base)).train()
    masks: set[int] = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[-2:] == (length, length):
            masks.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits, _ = answer_logits(model, batch)
    assert logits.requires_grad
    assert len(masks) == 1


@pytest.mark.parametrize(("every", "recomputed"), [(True, 4), (2, 2)])
def test_as_many_layers_are_recomputed_as_asked(
    tiny_params: Params,
    rows: list[dict[str, Any]],
    images: dict[str, bytes],
    tmp_path: Path,
    every: int,
    recomputed: int,
) -> None:
    settings = tiny_params.train.model_copy(update={"gradient_checkpointing": every, "epochs": 1})
    result = train(tiny_params.model_copy(update={"train": settings}), rows, images, tmp_path)
    layers = result.model.get_base_model().model.language_model.layers
    assert sum(layer.gradient_checkpointing for layer in layers) == recomputed


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["layers.4.self_attn.q_proj"], "no trainable parameter receives a gradient"),  # CLIP's last layer alone
        (["nowhere_proj"], r"train\.lora\.targets: the base model has no layer nowhere_proj"),
    ],
)
def test_adapters_in_the_wrong_place_are_refused(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path, targets: Any, says: str
) -> None:
    lora = tiny_params.train.lora.model_copy(update={"targets": targets, "vision_tower": True})
    settings = tiny_params.train.model_copy(update={"lora": lora})
    with pytest.raises(InputError, match=says):
        train(tiny_params.model_copy(update={"train": settings}), rows, images, tmp_path)


def test_the_attention_that_is_asked_for_is_the_models(tiny_params: Params) -> None:
    assert load_base(tiny_params.model, "eager").config.get_text_config()._attn_implementation == "eager"


def test_an_adapter_that_is_not_there_is_named(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter found"):
        attach_adapters(load_base(tiny_params.model), {"options": tmp_path})


def published_geometry() -> LlavaConfig:
    """LLaVA-Gemma-2B's configuration, as its repository has it."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = GemmaConfig(
        vocab_size=256064, hidden_size=2048, intermediate_size=16384, num_hidden_layers=18,
        num_attention_heads=8, num_key_value_heads=1, head_dim=256, tie_word_embeddings=True,
    )  # fmt: skip
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=256000, tie_word_embeddings=True)


@pytest.mark.parametrize(("vision_tower", "trainable"), [(True, 21_970_944), (False, 19_611_648)])
def test_the_adapter_on_the_published_geometry_has_the_papers_size(
    root: Path, vision_tower: bool, trainable: int
) -> None:
    from abo_vqa.common.params import read_params

    lora = read_params(root / "params.yaml").train.lora.model_copy(update={"vision_tower": vision_tower})
    with torch.device("meta"):
        base = LlavaForConditionalGeneration(published_geometry())
        model = get_peft_model(base, lora_config(lora, base))
    assert model.get_nb_trainable_parameters()[0] == trainable
    if vision_tower:
        assert model.get_nb_trainable_parameters()[1] == 2_838_077_440
