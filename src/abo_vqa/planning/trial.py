"""One step of every stage that runs a model, on its largest inputs: whether it loads, fits and computes."""

import io
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import with_options
from abo_vqa.common.params import Params
from abo_vqa.generators.vlm import read_prompt
from abo_vqa.generators.vlm_writer import OUT_OF_MEMORY, Picture, QuestionWriter, generate_batches
from abo_vqa.inference.ask import BLANK, prompts_by_image
from abo_vqa.inference.conditions import questions_asked
from abo_vqa.inference.prompt_tree.choose import scorer_for
from abo_vqa.model.base.loading import compute_dtype, load_base, load_processor
from abo_vqa.model.base.memory import free_memory
from abo_vqa.planning.work import Work, prompts_per_question
from abo_vqa.training.choose import collator_for
from abo_vqa.training.launch import use_gpus
from abo_vqa.training.plan import training_questions
from abo_vqa.training.settings import attention, autocast
from abo_vqa.training.trainer import train_arm

Row = dict[str, Any]
Images = Callable[[set[str]], Mapping[str, bytes]]
# The first step compiles and allocates, the second is timed. A loss scaler skips steps until it has found its scale.
STEPS, SCALED_STEPS = 2, 8
COLORS = ("black", "white", "blue", "red", "green", "brown", "gray", "yellow")


@dataclass(frozen=True)
class Trial:
    """A stage that was tried: what was done, seconds of loading and of the step, bytes at the peak, runs, steps of one.

    memory: of the GPU, or of the process without one.
    """

    stage: str
    did: str
    loading: float
    seconds: float
    memory: float
    runs: int
    steps: float


def try_stages(
    params: Params, work: Work, tables: tuple[Mapping[str, Sequence[Row]], Images] | None = None
) -> Iterator[Trial]:
    """Run one step of each stage that needs a model, on this machine; nothing of the project is changed.

    tables: the run's questions by split, `train` and `test`, and a function that reads images; None: they are drawn.
    Raises InputError where a model does not load, memory does not suffice for a single prompt or image, or what it
    computes is not finite.
    """
    settings = use_gpus(params.train.model_copy(update={"processes": 1}))
    params = params.model_copy(update={"train": settings})
    if params.generate.source == "vlm":
        yield _generation(params, work)
        free_memory()
    if tables is None:
        drawn = drawn_questions(params, work)
        tables = {"train": drawn, "test": drawn}, lambda ids: dict.fromkeys(ids, drawn_image())
    yield from _training_and_evaluation(params, work, *tables)


def drawn_image() -> bytes:
    """Return noise of the size of ABO's small images, as a JPEG file."""
    with io.BytesIO() as file:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)).save(file, "JPEG")
        return file.getvalue()


def drawn_questions(params: Params, work: Work) -> list[Row]:
    """Return questions about as many images as a step needs, with as many questions each as the plan expects."""
    each, number = max(1, round(work.per_image)), params.validate_.options
    images = max(2, params.train.batch_size * params.train.accumulation // each + 1)
    rows = []
    for image in range(images):
        for place in range(each):
            options = [COLORS[(image + place + other) % len(COLORS)] for other in range(number)]
            rows.append({
                "qa_id": f"drawn-{image}-{place}", "image_id": f"drawn-{image}.jpg", "question_type": "color",
                "question": f"What is the main color of part {place} of the product shown in this picture?",
                "answer": options[0], "options": options, "answer_index": 0, "matched_options": options,
            })  # fmt: skip
    return rows


def _generation(params: Params, work: Work) -> Trial:
    vlm = params.generate.vlm
    _forget_peak()
    started = time.monotonic()
    writer = QuestionWriter(vlm, read_prompt(vlm.prompt, "generate.vlm.prompt"), params.seed)
    loaded = time.monotonic()
    number = writer.batch_size([Picture("drawn.jpg", drawn_image())])
    pictures = [Picture(f"drawn-{place}.jpg", drawn_image()) for place in range(number)]
    batches = list(generate_batches(writer, pictures, number))
    seconds = time.monotonic() - loaded
    if any(output.failure == OUT_OF_MEMORY for batch in batches for output in batch.outputs):
        raise InputError("generate.vlm: a single image does not fit into memory; set generate.vlm.quantization")
    did = f"{len(pictures)} images, {batches[-1].batch_size} at once"
    return Trial("generate", did, loaded - started, seconds, _peak(), 1, work.images / len(pictures))


def _training_and_evaluation(
    params: Params, work: Work, rows: Mapping[str, Sequence[Row]], read_images: Images
) -> Iterator[Trial]:
    """Load the base once; train a step of the arm that shows the options most, then ask about one image."""
    settings, runs = params.train, len(params.arms) * len(params.train.replicates)
    name = max(params.arms, key=lambda arm: params.arm(arm).options_first + params.arm(arm).options_last)
    by_image, prompt = settings.packing != "question", params.prompt_of(name)
    trained = with_options(rows["train"], settings.options_from)[: settings.max_questions]
    questions = training_questions(trained, params.arm(name), 1, params.seed, by_image, prompt, settings.batch_size)
    largest = largest_pass(questions, settings.batch_size)
    prompts = prompts_by_image(questions_asked(params, rows["test"], rows["train"]), prompt)
    asked = max(prompts.keys() - {BLANK}, key=lambda image: (len(prompts[image]), image))
    seen = {questions[place]["image"] for place in largest}
    images = read_images(seen | {asked})

    _forget_peak()
    started = time.monotonic()
    base: Any = load_base(params.model, attention(settings, compute_dtype(params.model.quantization)))
    processor = load_processor(params.model)
    loaded = time.monotonic() - started
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "features")
        collator = collator_for(settings, base, processor, images, questions, cache)
        steps = SCALED_STEPS if autocast(settings, base.dtype) == "fp16" else STEPS
        one_pass = {"batch_size": len(largest), "accumulation": 1, "log_steps": 1, "save_steps": 10**6}
        ends = [time.monotonic()]
        result = train_arm(
            base, collator, questions.select(largest * steps), [], settings.model_copy(update=one_pass), params.seed,
            Path(folder, "checkpoints"), lambda row: ends.append(time.monotonic()),
        )  # fmt: skip
        did, passes = f"{len(largest)} questions about {len(seen)} images", work.train_questions / len(largest)
        yield Trial("train", did, loaded, ends[-1] - ends[-2], _peak(), runs, passes * settings.epochs)

        free_memory()
        _forget_peak()
        result.model.eval()
        scorer = scorer_for(
            result.model, processor, images, {asked: prompts[asked]}, None if settings.lora.vision_tower else cache,
            params.evaluate.max_new_tokens, params.evaluate.tokens_per_pass,
        )  # fmt: skip
        started, number = time.monotonic(), len(prompts[asked])
        scorer.ask(asked, list(prompts[asked]))
        seconds, whole = time.monotonic() - started, work.test_questions * prompts_per_question(params)
        yield Trial("evaluate", f"{number} prompts about an image", loaded, seconds, _peak(), 1 + runs, whole / number)


def largest_pass(dataset: Any, size: int) -> list[int]:
    """Return the places of the pass of `size` questions that has most images and, of these, the longest text."""
    passes = [list(range(start, min(start + size, len(dataset)))) for start in range(0, len(dataset), size)]

    def tokens(places: list[int]) -> tuple[int, int]:
        part = dataset.select(places)
        return len(set(part["image"])), sum(map(len, part["text"]))

    return max(passes, key=tokens)


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
