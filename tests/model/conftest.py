"""A tiny untrained LLaVA-Gemma in the published file layout, and drawn product images to ask it about."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from abo_demo.base_model import build_model, build_processor, train_tokenizer
from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.params import Params, check_params
from abo_vqa.common.draws import derive_rng
from tiny_llava_next import save_tiny_llava_next


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["What color is it? Options: red, blue. Answer with just one word."] * 9)
    build_processor(tokenizer).save_pretrained(folder)
    build_model(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_next(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llava_next(tmp_path_factory.mktemp("next"), spread=0.05)


def draw_images() -> dict[str, bytes]:
    """Eight drawn products as JPEG files."""
    encoded = {}
    for number in range(8):
        rng = derive_rng(1, number)
        with io.BytesIO() as file:
            draw_scene(sample_scene(rng), rng, (96, 80)).save(file, "JPEG")
            encoded[f"image-{number}"] = file.getvalue()
    return encoded


def draw_rows(images: dict[str, bytes]) -> list[dict[str, Any]]:
    """Two questions an image."""
    return [
        {
            "qa_id": f"{image}-{index}",
            "image_id": image,
            "question": question,
            "options": ["red", "blue", "wood", "3"],
            "answer": answer,
        }
        for image in images
        for index, (question, answer) in enumerate([("What color is it?", "red"), ("How many are there?", "3")])
    ]


@pytest.fixture(scope="session")
def images() -> dict[str, bytes]:
    return draw_images()


@pytest.fixture(scope="session")
def rows(images: dict[str, bytes]) -> list[dict[str, Any]]:
    return draw_rows(images)


@pytest.fixture
def tiny_params(root: Path, tiny_base: Path) -> Params:
    """The committed parameters over the tiny base, with small batches."""
    values = YAML(typ="safe", pure=True).load(root / "params.yaml")
    values["model"]["base"] = str(tiny_base)
    values["train"] |= {"batch_size": 4, "accumulation": 2, "log_steps": 1, "save_steps": 100}
    return check_params(values)
