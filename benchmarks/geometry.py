"""Models of the paper's geometry with random weights, and questions of real length to ask them.

tiny: for the test that benchmarks run. narrow: 576 image tokens and a vocabulary of 32,064 as published, hidden size
256 and 6 layers, so that two CPU cores can take a step. llava-gemma-2b: as published, for a GPU.
"""

import gzip
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPVisionConfig, GemmaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from abo_demo.base_model import SPECIAL, train_tokenizer
from abo_demo.llava_next import PUBLISHED, TINY, save_llava_next
from abo_vqa.common.schema import RawOutput
from abo_vqa.model.families.llava import Llava
from abo_vqa.questions.parse import flatten

PATCH = 14
RECORDED = "qa/llava_v1.6_mistral_7b_raw.jsonl.gz"
Row = dict[str, Any]


def questions(real_data: Path | None, images: int, per_image: int) -> list[Row]:
    """Return `per_image` four-option questions for each of `images` images, a 7B model's where its outputs are at hand.

    Without them the demo's questions are asked, which are a little shorter.
    """
    found = _recorded(real_data / RECORDED) if real_data else _demo()
    groups = [group for group in found if len(group) >= min(per_image, 5)]
    rows = []
    for image in range(images):
        pool = groups[image % len(groups)] + groups[(image + 1) % len(groups)]
        rows += [
            row | {"image_id": f"image-{image}", "qa_id": f"{image}-{n}"} for n, row in enumerate(pool[:per_image])
        ]
    return rows


def photographs(image_ids: set[str]) -> dict[str, bytes]:
    """Return a picture of noise, 256 pixels wide as ABO's small images are, for every id."""
    made = {}
    for name in sorted(image_ids):
        pixels = random.Random(name).randbytes(256 * 256 * 3)
        with io.BytesIO() as file:
            Image.frombytes("RGB", (256, 256), pixels).save(file, "JPEG")
            made[name] = file.getvalue()
    return made


def save_writer(folder: Path, published: bool) -> None:
    """Write a LLaVA-NeXT with random weights: tiny, or of LLaVA-v1.6-Mistral-7B's geometry, which takes a GPU."""
    save_llava_next(folder, spread=0.02 if published else 0.3, sizes=PUBLISHED if published else TINY)


def save_model(folder: Path, rows: list[Row], geometry: str, image_tokens: int) -> None:
    """Write a model with random weights and its processor in the published layout; geometry: of GEOMETRIES."""
    side = round(image_tokens**0.5)
    assert side * side == image_tokens, "CLIP takes square images"
    texts = [f"{row['question']} Options: {', '.join(row['options'])} Answer with just one option." for row in rows]
    tokenizer = train_tokenizer(texts * 2)
    square = {"height": side * PATCH, "width": side * PATCH}
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=Llava.template,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    cuda = torch.cuda.is_available()
    with torch.device("cuda" if cuda else "cpu"):
        model = LlavaForConditionalGeneration(_config(geometry, side * PATCH))
    model.to(torch.bfloat16 if cuda else torch.float32).save_pretrained(folder)


# Of the vision tower and of the language model.
GEOMETRIES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "tiny": (
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        {
            "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16,
        },
    ),
    "narrow": (
        {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4},
        {
            "vocab_size": 32064, "hidden_size": 256, "intermediate_size": 2048, "num_hidden_layers": 6,
            "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 32,
        },
    ),
    "llava-gemma-2b": (
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
        {
            "vocab_size": 256064, "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
            "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
        },
    ),
}  # fmt: skip


def _config(geometry: str, image_size: int) -> LlavaConfig:
    vision, text = GEOMETRIES[geometry]
    return LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=image_size, patch_size=PATCH, **vision),
        text_config=GemmaConfig(pad_token_id=0, eos_token_id=1, bos_token_id=2, tie_word_embeddings=True, **text),
        image_token_index=SPECIAL.index("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def _recorded(path: Path) -> Iterator[list[Row]]:
    raw = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in list(lines)[:2000]:
            record = json.loads(line)
            raw.append(RawOutput(record["image"], record["image"], "recorded", None, record["output"]))
    yield from _groups(flatten(raw)[0])


def _demo() -> Iterator[list[Row]]:
    from abo_vqa.catalog.archives import read_listings
    from abo_vqa.generators.metadata import generate_from_metadata

    listings = read_listings(Path(__file__).parents[1] / "data/abo-listings.tar").listings
    outputs = generate_from_metadata([(listing, listing.product_id) for listing in listings], 0).outputs
    yield from _groups(flatten(outputs)[0])


def _groups(found: list[Any]) -> Iterator[list[Row]]:
    by_image: dict[str, list[Row]] = {}
    for q in found:
        if len(set(q.options)) == 4 and q.answer and q.question:
            row = {"question": q.question, "options": list(q.options), "answer": q.answer}
            by_image.setdefault(q.product_id, []).append(row)
    yield from by_image.values()
