"""Every family is exact: losses, gradients, log-probabilities and answers are those of the model's own sequences."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from abo_demo.families import FAMILIES, NARROW
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.inference.prompt_tree.choose import scorer_for
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.inference.prompt_tree.single import SingleScorer
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.base.parts import vision_parts
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.families.lookup import family_of, known_types
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.images import read_image
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.plan import training_questions
from adapted import adapted, gradient, question_losses
from drawn import draw_images, draw_rows

SHARING = [name for name in FAMILIES if name != "paligemma"]
MIXED = ArmParams(options_first=0.5, options_last=0.5)
PROMPTS = [
    Prompt("What color is the table?\nAnswer with just one word.", ("red", "blue", "green wood")),
    Prompt("What color is the table?\nOptions: red, blue\nAnswer with just one option.", ("red", "blue")),
    Prompt("How many handles can be seen?\nAnswer with just one word.", ("three", "four", "yes")),
]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models of all families."""
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in FAMILIES.items()}


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    """Of three shapes, so that models with tiles have different numbers of them."""
    found = {}
    for (name, data), size in zip(draw_images().items(), [(96, 80), (60, 130), (140, 40)], strict=False):
        with Image.open(io.BytesIO(data)) as image, io.BytesIO() as file:
            image.resize(size).save(file, "PNG")
            found[name] = file.getvalue()
    return found


@pytest.fixture(scope="module")
def rows(images: dict[str, bytes]) -> list[dict[str, Any]]:
    """Two questions about each."""
    return draw_rows(images)


@pytest.fixture(params=[(True, 0.02), (False, 0.02), (True, 0.0), (False, 0.0)], ids=str)
def setting(request: pytest.FixtureRequest) -> tuple[bool, float]:
    """Whether the model is quantized, and how large its adapter's weights are; 0: as without one."""
    return request.param


def params_of(tiny_params: Params, folder: Path, quantized: bool) -> Params:
    quantization = tiny_params.model.quantization.model_copy(update={"load_in_4bit": quantized})
    train = tiny_params.train
    exact = train.model_copy(update={"lora": train.lora.model_copy(update={"dropout": 0.0})})
    model = tiny_params.model.model_copy(update={"base": str(folder), "quantization": quantization})
    return tiny_params.model_copy(update={"model": model, "train": exact})


@pytest.mark.parametrize("family", SHARING)
def test_losses_and_gradients_are_those_of_single_sequences(
    tiny_params: Params, folders: dict[str, Path], family: str, setting: tuple[bool, float],
    rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    params = params_of(tiny_params, folders[family], setting[0])
    model, processor = adapted(params, seed=0, spread=setting[1]), load_processor(params.model)
    single = QuestionCollator(processor, images, 4096)
    questions = training_questions(rows, MIXED, 1, 3, by_image=True)
    examples = [questions[place] for place in range(5)]  # about three images
    end = processor.ends[0]
    # One at a time: the model's own forward pass, without padding.
    alone = torch.cat([question_losses(model, single([example]), end) for example in examples])
    alone.sum().backward()
    wanted = gradient(model)
    features = ImageFeatures(tmp_path, images, model, processor)
    batches = {
        "cached": ImageCollator(processor, images, features, 4096)(examples),
        "pixels": ImageCollator(processor, images, None, 4096)(examples),
        "padded, one each": single(examples),
    }
    for kind, batch in batches.items():
        shared = question_losses(model, batch, end)
        assert torch.allclose(shared, alone, rtol=TOLERANCE, atol=TOLERANCE), kind
        shared.sum().backward()
        assert (gradient(model) - wanted).norm() < TOLERANCE * wanted.norm(), kind
    assert wanted.norm() > 0
    assert len(set(alone.tolist())) == len(examples), "random weights that tell the questions apart"


@pytest.mark.parametrize("family", FAMILIES)
def test_options_and_answers_are_those_of_single_sequences(
    tiny_params: Params, folders: dict[str, Path], family: str, setting: tuple[bool, float],
    images: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    params = params_of(tiny_params, folders[family], setting[0])
    model, processor = adapted(params, seed=0, spread=setting[1]).eval(), load_processor(params.model)
    asked = {"image-0": PROMPTS, "image-2": PROMPTS[:2]}
    alone = SingleScorer(model, QuestionCollator(processor, images, 4096), 6).ask_together(asked)
    for cache in (tmp_path, None):
        scorer = scorer_for(model, processor, images, asked, cache, 6, 512)
        assert isinstance(scorer, Scorer) == (family in SHARING)
        found = scorer.ask_together(asked)
        for image, answers in found.items():
            for answer, expected in zip(answers, alone[image], strict=True):
                assert answer.log_probabilities == pytest.approx(expected.log_probabilities, rel=TOLERANCE, abs=1e-5)
                assert (answer.tokens, answer.text, answer.lengths) == (
                    expected.tokens, expected.text, expected.lengths,
                )  # fmt: skip
    assert ("cannot share an image among several prompts" in capsys.readouterr().err) == (family not in SHARING)
    different = {answer.log_probabilities[0] for answers in alone.values() for answer in answers}
    assert len(different) == 5, "the image and the question are seen"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_language_model_alone_is_quantized_and_adapted(
    tiny_params: Params, folders: dict[str, Path], family: str
) -> None:
    model = adapted(params_of(tiny_params, folders[family], True), seed=0, spread=0.0).get_base_model()
    vision = tuple(vision_parts(model))
    quantized = [name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"]
    tuned = [name for name, _ in model.named_parameters() if ".lora_A." in name]
    assert len(quantized) >= 7 * 2 and len(tuned) >= 7 * 2
    assert not [name for name in quantized + tuned if name.startswith(vision)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_file_of_its_own(folders: dict[str, Path], family: str) -> None:
    from transformers import AutoConfig

    assert type(family_of(AutoConfig.from_pretrained(folders[family]))) is known_types()[family]
    assert known_types()[family].__module__ == f"abo_vqa.model.families.{family}"


def test_there_are_tests_of_all_families() -> None:
    assert known_types().keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", SHARING)
def test_a_plan_counts_the_tokens_that_a_photograph_takes(tiny_params: Params, tmp_path: Path, family: str) -> None:
    FAMILIES[family](tmp_path, NARROW)
    model = tiny_params.model.model_copy(update={"base": str(tmp_path)})
    processor, found = load_processor(model), []
    for size in ((256, 256), (256, 192), (256, 128), (192, 256), (128, 256)):
        with io.BytesIO() as file:
            Image.new("RGB", size).save(file, "PNG")
            part = read_image(processor, "image", file.getvalue())
        tokens = processor.tokenizer.encode(part.text, add_special_tokens=False)
        found.append(tokens.count(processor.family.image_token))
    mean, most = processor.family.image_tokens()
    assert most == pytest.approx(max(found), rel=0.01)
    assert mean == pytest.approx(sum(found) / len(found), rel=0.35)
