"""How much a run has to do: images, questions and tokens, counted in its tables or computed from the parameters."""

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from abo_vqa.common.layout import split_table
from abo_vqa.common.params import Params

# Usable questions an image in LLaVA-v1.6-Mistral-7B's recorded outputs: 53,953 about 10,800 images, 97.7 % of them.
PER_IMAGE = 4.88
# Tokens of a question with the words around it, of its options, and of an answer with its end.
QUESTION, OPTIONS, ANSWER = 30, 15, 3
# LLaVA-NeXT cuts a photograph into tiles: mean and most over ABO's small images.
NEXT_MEAN, NEXT_MOST = 1213, 1752


@dataclass(frozen=True)
class Work:
    """Images and questions of the training and of the test. measured: counted in tables, not computed."""

    images: int
    train_images: float
    train_questions: int
    test_images: float
    test_questions: int
    measured: bool

    @property
    def per_image(self) -> float:
        """Questions about an image, on the mean."""
        return self.train_questions / self.train_images


def work_of(params: Params) -> Work:
    """Return the work of these parameters; counted if the tables of a run with as many products are there."""
    most = params.train.max_questions
    images = params.sample.products
    parts = {}
    for split in ("train", "validation", "test"):
        if not split_table(split).is_file():
            break
        ids = pq.read_table(split_table(split), columns=["image_id"])["image_id"]
        parts[split] = (len(ids.unique()), len(ids))
    # Tables of another sample tell nothing about this one.
    if len(parts) == 3 and abs(sum(number for number, _ in parts.values()) - images) <= images // 10:
        (train_images, train), (test_images, test), measured = parts["train"], parts["test"], True
    else:
        shares, measured = params.split, False
        test_images = round(images * shares.test)
        train_images = images - test_images - round(images * shares.validation)
        train, test = round(train_images * PER_IMAGE), round(test_images * PER_IMAGE)
    asked = min(train, most or train)
    return Work(images, train_images * asked / train, asked, test_images, test, measured)


def image_tokens(config: Any) -> tuple[int, int]:
    """Return the tokens of an image, on the mean and at most."""
    if config.model_type == "llava_next":
        return NEXT_MEAN, NEXT_MOST
    vision = config.vision_config
    tokens = (vision.image_size // vision.patch_size) ** 2
    return tokens, tokens


def prompts_per_question(params: Params) -> int:
    """Return how many prompts the evaluation asks of one model for each test question."""
    rotations = (params.validate_.options if one.order == "rotated" else 1 for one in params.conditions().values())
    return sum(rotations)
