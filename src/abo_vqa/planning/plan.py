"""What each stage of the current parameters takes on a card: memory, time, disk, and what a restart keeps."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import TrainParams, WeightsParams
from abo_vqa.generators.output_schema import most_new_tokens
from abo_vqa.model.base.memory import cache_bytes, images_at_once, pass_tokens
from abo_vqa.model.base.parts import empty_model
from abo_vqa.model.families.lookup import family_of
from abo_vqa.planning.cards import Card
from abo_vqa.planning.memory import kept_for_backward, weight_bytes
from abo_vqa.planning.work import (
    ANSWER,
    OPTIONS,
    QUESTION,
    Work,
    prompts_per_question,
    tokens_per_question,
)
from abo_vqa.training.passes import RUNTIME, USABLE, tokens_that_fit
from abo_vqa.training.settings import lora_config

# Share of the peak that a matrix product of this size reaches in practice, and of the bandwidth while generating.
REACHED, READ = 0.3, 0.5
# Tokens of the writing model's prompt and output, per image.
WRITER_PROMPT, WRITER_OUTPUT = 300, 300


@dataclass(frozen=True)
class Step:
    """A stage of the plan: how often it runs, bytes of memory and disk, seconds, and what a restart keeps.

    memory: at the most, of the GPU or the process. note: what the figures rest on.
    """

    stage: str
    runs: int
    memory: float
    seconds: float
    disk: float
    resumes: str
    note: str


@dataclass(frozen=True)
class Planned:
    """A plan: its stages, what is downloaded, and the card's usable memory."""

    steps: list[Step]
    downloads: dict[str, float]
    usable: float


def plan(params: Params, work: Work, card: Card) -> Planned:
    """Return what the stages take; only the models' configurations are read. Raises InputError without them."""
    base = _Model(params.model, "model.base", card)
    steps, downloads = [], {params.model.base: base.download}
    if params.generate.source == "vlm":
        writer = _Model(params.generate.vlm, "generate.vlm.base", card)
        downloads[params.generate.vlm.base] = writer.download
        steps.append(_generation(params, work, writer, card))
    steps.append(_training(params, work, base, card))
    steps.append(_evaluation(params, work, base, card))
    return Planned(steps, {name: size for name, size in downloads.items() if size}, USABLE * card.memory)


class _Model:
    """A model's geometry: tokens of an image, weights on the card, and what its download takes."""

    def __init__(self, params: WeightsParams, parameter: str, card: Card) -> None:
        self.config, local = configuration(params.base, parameter)
        self.dtype = _dtype(params, card)
        self.model = empty_model(self.config, self.dtype)
        self.weights = weight_bytes(self.model, params.quantization)
        self.mean_image, self.most_image = family_of(self.config).image_tokens()
        text = self.config.get_text_config()
        self.vocabulary, self.hidden = text.vocab_size, text.hidden_size
        # The head is used for few tokens; the embedding is a table.
        blocks = (p for name, p in self.model.get_decoder().named_parameters() if "embed_tokens" not in name)
        self.operations = 2 * sum(parameter.numel() for parameter in blocks)
        self.cache = cache_bytes(self.config, self.dtype)
        published = getattr(self.config, "dtype", None) or torch.float32
        self.download = 0 if local else sum(p.numel() for p in self.model.parameters()) * published.itemsize


def configuration(base: str, parameter: str) -> tuple[Any, bool]:
    """Return a model's configuration and whether it is a local folder; a hub model's is looked up without weights."""
    path, commit = Path(base), None
    name = base
    if path.suffix == ".json" and path.is_file():
        pin = json.loads(path.read_text(encoding="utf-8"))
        name, commit = pin["id"], pin["commit"]
    try:
        return AutoConfig.from_pretrained(name, revision=commit, trust_remote_code=False), Path(name).is_dir()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{parameter}: the configuration of {name} cannot be read: {str(error).splitlines()[0]}; go online, or put "
            "its config.json into a folder and name that"
        ) from None


def _dtype(params: WeightsParams, card: Card) -> torch.dtype:
    named = params.quantization.compute_dtype
    if named != "auto":
        return getattr(torch, named)
    return torch.float32 if card.name == "cpu" else torch.bfloat16 if card.bf16 else torch.float16


def _generation(params: Params, work: Work, writer: _Model, card: Card) -> Step:
    settings = params.generate.vlm
    length = writer.most_image + WRITER_PROMPT + most_new_tokens(settings)
    whole = None if card.name == "cpu" else int(card.memory)
    images = images_at_once(settings.batch_size, length, writer.cache, writer.vocabulary, int(writer.weights), whole)
    memory = writer.weights + images * (length * writer.cache + writer.vocabulary * 8) + RUNTIME
    read = work.images * (writer.mean_image + WRITER_PROMPT) * writer.operations / (REACHED * card.operations)
    steps = work.images / images * WRITER_OUTPUT
    written = steps * max(
        writer.weights / (READ * card.bandwidth), images * writer.operations / (REACHED * card.operations)
    )
    note = f"{work.images:,} images, {images} at once, {WRITER_OUTPUT} tokens each"
    return Step("generate", 1, memory, read + written, work.images * 1500, "by image", note)


def _training(params: Params, work: Work, base: _Model, card: Card) -> Step:
    settings = params.train
    sequence, step = _sequences(settings, work, base)
    kept = kept_for_backward(base.config, settings.lora, base.dtype, 1, sequence, gpu=card.name != "cpu") / sequence
    trainable = _trainable(base, settings)
    tokens = settings.tokens_per_pass
    if tokens == "auto":
        tokens = step if card.name == "cpu" else tokens_that_fit(int(card.memory), base.weights, trainable, kept)
    largest = max(sequence, min(step, tokens))
    if every := int(settings.gradient_checkpointing):
        # Of a recomputed layer its input, of the others all; and, while one is recomputed, that one.
        layers = base.config.get_text_config().num_hidden_layers
        recomputed = math.ceil(layers / every)
        kept = kept * (layers - recomputed + 1) / layers + recomputed * base.hidden * base.dtype.itemsize
    memory = base.weights + largest * kept + 12 * trainable + RUNTIME
    questions = work.train_questions * settings.epochs
    each = base.mean_image + QUESTION + OPTIONS + ANSWER
    if settings.packing != "question":
        each = round(base.mean_image / work.per_image) + QUESTION + OPTIONS + ANSWER
    seconds = questions * each * 2 * base.operations / (REACHED * card.operations)
    features = work.train_images * base.mean_image * base.hidden * base.dtype.itemsize
    cached = settings.feature_cache and settings.packing != "question" and not settings.lora.vision_tower
    disk = (features if cached else 0) + 16 * trainable
    runs = len(params.arms) * len(settings.replicates)
    note = f"{questions:,.0f} questions, {largest:,} tokens a pass, {kept / 1e6:.2f} MB a token"
    return Step("train", runs, memory, seconds, disk, f"every {settings.save_steps} steps", note)


def _sequences(settings: TrainParams, work: Work, base: _Model) -> tuple[int, int]:
    """Return the tokens of the longest sequence and of all sequences of a batch."""
    question = QUESTION + OPTIONS + ANSWER
    if settings.packing == "question":
        return base.most_image + question, settings.batch_size * (base.most_image + question)
    sequence = base.most_image + round(max(1.0, work.per_image)) * question
    return sequence, round(settings.batch_size / max(1.0, work.per_image) + 0.5) * sequence


def _trainable(base: _Model, settings: TrainParams) -> int:
    from peft import get_peft_model

    empty = empty_model(base.config, base.dtype)
    with torch.device("meta"):
        adapted = get_peft_model(empty, lora_config(settings.lora, empty))
    return adapted.get_nb_trainable_parameters()[0]


def _evaluation(params: Params, work: Work, base: _Model, card: Card) -> Step:
    memory = None if card.name == "cpu" else int(card.memory)
    most = pass_tokens(params.evaluate.tokens_per_pass, base.vocabulary, memory)
    logits = most * base.vocabulary * 16  # as pass_tokens counts them
    needed = base.weights + (base.most_image + most) * (base.cache + 12 * base.hidden * 4) + logits + RUNTIME
    prompts = work.test_questions * prompts_per_question(params)
    tokens = work.test_questions * tokens_per_question(params) + 3 * work.test_images * base.mean_image
    seconds = tokens * base.operations / (REACHED * card.operations)
    runs = 1 + len(params.arms) * len(params.train.replicates)
    note = f"{prompts:,} prompts about {work.test_images:,.0f} images, {most:,} text tokens a pass"
    return Step("evaluate", runs, needed, seconds, work.test_questions * 3000, "by image", note)
