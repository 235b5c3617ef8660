"""Drawn product images and questions about them."""

import io
from typing import Any

from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.draws import derive_rng


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
