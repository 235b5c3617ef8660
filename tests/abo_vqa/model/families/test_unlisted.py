"""A family that nobody has listed works, shared or with a sequence each, or is refused by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from abo_demo.families import FAMILIES, save_gemma3, save_qwen2_5_vl, save_unlisted
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams, TrainParams
from abo_vqa.inference.prompt_tree.choose import scorer_for
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.inference.prompt_tree.single import SingleScorer
from abo_vqa.model.adapters import attach_adapters, save_adapter
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.families.family import Family
from abo_vqa.model.families.gemma3 import Gemma3
from abo_vqa.model.families.lookup import family_of
from abo_vqa.model.families.qwen2_5_vl import Qwen25Vl
from abo_vqa.model.self_check import CannotShare, sharing
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.choose import collator_for
from abo_vqa.training.plan import training_questions
from abo_vqa.training.trainer import train_arm

MIXED = ArmParams(options_first=0.5, options_last=0.5)
ASKED = {
    "image-0": [
        Prompt("What color is it?\nAnswer with just one word.", ("red", "blue")),
        Prompt("Is there a lid?\nAnswer with just one word.", ()),
    ]
}
UNLISTED = {"gemma3": (Gemma3, save_gemma3), "qwen2_5_vl": (Qwen25Vl, save_qwen2_5_vl)}


def load(tiny_params: Params, folder: Path) -> tuple[Any, Any]:
    model = tiny_params.model.model_copy(update={"base": str(folder)})
    return load_base(model), load_processor(model)


def settings(params: Params, **changes: Any) -> TrainParams:
    return params.train.model_copy(update=changes)


def test_one_that_is_like_most_shares_its_images(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path
) -> None:
    model, processor = load(tiny_params, save_unlisted(tmp_path / "model"))
    assert type(family_of(model.config)) is Family
    dataset = training_questions(rows, MIXED, 1, 3, by_image=True)
    collator = collator_for(settings(tiny_params), model, processor, images, dataset, tmp_path / "features")
    assert isinstance(collator, ImageCollator)
    scorer = scorer_for(model, processor, images, ASKED, tmp_path / "features", 6, 512)
    assert isinstance(scorer, Scorer)
    alone = SingleScorer(model, QuestionCollator(processor, images, 4096), 6)
    for found, wanted in zip(
        scorer.ask("image-0", ASKED["image-0"]), alone.ask("image-0", ASKED["image-0"]), strict=True
    ):
        assert found.tokens == wanted.tokens
        assert found.log_probabilities == pytest.approx(wanted.log_probabilities, rel=1e-5)


@pytest.mark.parametrize("name", UNLISTED)
def test_one_that_is_not_is_refused_or_takes_a_sequence_each(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str,
) -> None:  # fmt: skip
    family, save = UNLISTED[name]
    model, processor = load(tiny_params, save(tmp_path / "model"))
    dataset = training_questions(rows, MIXED, 1, 3, by_image=True)
    expected = SingleScorer(model, QuestionCollator(processor, images, 4096), 6).ask("image-0", ASKED["image-0"])
    monkeypatch.setattr(family, "types", ())  # as if nobody had written its file
    processor.family = family_of(model.config)
    assert type(processor.family) is Family
    where = images, dataset, tmp_path / "features"
    said = rf"model.base: .*model \({name}\) cannot share an image among several questions: it is not exact: .*; set tr"
    with pytest.raises(CannotShare, match=said):
        collator_for(settings(tiny_params), model, processor, *where)
    collator = collator_for(settings(tiny_params, packing="auto"), model, processor, *where)
    assert isinstance(collator, QuestionCollator)
    scorer = scorer_for(model, processor, images, ASKED, tmp_path / "features", 6, 512)
    assert isinstance(scorer, SingleScorer)
    assert scorer.ask("image-0", ASKED["image-0"]) == expected
    printed = capsys.readouterr().err
    assert "each question takes a sequence of its own" in printed and "among several prompts: it is not" in printed


def test_open_prompts_alone_are_checked_too(
    tiny_params: Params, images: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = load(tiny_params, save_gemma3(tmp_path))
    monkeypatch.setattr(Gemma3, "blocks", Family.blocks)  # the image would see itself in one direction
    assert isinstance(
        scorer_for(model, processor, images, {"image-0": ASKED["image-0"][1:]}, None, 6, 512), SingleScorer
    )


def test_one_that_takes_no_features_is_refused_by_name(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model, processor = load(tiny_params, save_unlisted(tmp_path / "model"))
    monkeypatch.delattr(type(model.model), "get_image_features")
    dataset = training_questions(rows, MIXED, 1, 3, by_image=True)
    with pytest.raises(
        CannotShare, match=r"\(aya_vision\) cannot share .*no attribute 'get_image_features'; set train"
    ):
        collator_for(settings(tiny_params), model, processor, images, dataset, tmp_path / "features")


def test_a_window_over_positions_of_several_axes_is_refused() -> None:
    text = SimpleNamespace(sliding_window=8, layer_types=["sliding_attention"])
    family = Family(SimpleNamespace(get_text_config=lambda: text))
    seen, places = torch.ones(1, 1, 12, 12, dtype=torch.bool).tril(), torch.arange(12)[None]
    near = family.masks(seen, places, places, torch.float32)
    assert (near[0, 0, 11] == 0).sum() == 8
    axes = places.expand(3, -1)[None]
    with pytest.raises(ValueError, match="attention to a window, and positions of several axes"):
        family.masks(seen, axes, axes, torch.float32)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), InputError("image-0: not an image")])
def test_what_has_nothing_to_do_with_sharing_stays_what_it_is(
    tiny_params: Params, tmp_path: Path, error: Exception
) -> None:
    model, processor = load(tiny_params, save_unlisted(tmp_path))
    with pytest.raises(type(error), match=str(error)) as caught, sharing(model, processor.family, "several", "do"):
        raise error
    assert not isinstance(caught.value, CannotShare)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_in_several_passes_has_the_gradients_of_one(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path, family: str
) -> None:
    folder = FAMILIES[family](tmp_path / "model")
    dataset = training_questions([*rows[:3], *rows[8:12]], MIXED, 1, 3, by_image=True)
    lora = tiny_params.train.lora.model_copy(update={"dropout": 0.0})
    curves = []
    for tokens in (10**6, 40):
        model, processor = load(tiny_params, folder)
        trained = settings(
            tiny_params, packing="auto", lora=lora, batch_size=7, accumulation=1, validation_questions=0,
            tokens_per_pass=tokens,
        )  # fmt: skip
        collator = collator_for(trained, model, processor, images, dataset, tmp_path / "features")
        curves.append(train_arm(model, collator, dataset, [], trained, 3, tmp_path / str(tokens)).curve)
    (whole,), (divided,) = curves
    assert {name: divided[name] for name in whole} == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("family", [*FAMILIES, "unlisted"])
def test_every_family_is_trained_and_its_adapter_loaded(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path, family: str
) -> None:
    folder = FAMILIES.get(family, save_unlisted)(tmp_path / "model")
    model, processor = load(tiny_params, folder)
    dataset = training_questions(rows[:8], MIXED, 3, 3, by_image=True)
    trained = settings(tiny_params, packing="auto", epochs=3, learning_rate=1e-2, validation_questions=0)
    collator = collator_for(trained, model, processor, images, dataset, tmp_path / "features")
    batch = [collator([dataset[place] for place in range(4)])]
    result = train_arm(model, collator, dataset, batch, trained, 3, tmp_path / "scratch")
    losses = [row["loss"] for row in result.curve]
    assert len(losses) == 3 and losses[-1] < losses[0]
    save_adapter(result.model, tmp_path / "adapter", str(folder), "card")
    result.model.eval()
    wanted = scorer_for(result.model, processor, images, ASKED, None, 6, 512).ask("image-0", ASKED["image-0"])
    again = attach_adapters(load(tiny_params, folder)[0], {"arm": tmp_path / "adapter"})
    found = scorer_for(again, processor, images, ASKED, None, 6, 512).ask("image-0", ASKED["image-0"])
    assert found[0].log_probabilities == pytest.approx(wanted[0].log_probabilities, rel=1e-5)
