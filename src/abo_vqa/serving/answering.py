"""Answer questions about an image with a base model and its adapters, prompted and scored as in the evaluation."""

import io
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

import torch
from PIL import Image

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import BASE, PAPER_PROMPT, ModelParams, PromptParams
from abo_vqa.inference.prompt_tree.choose import scorer_for
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.inference.prompt_tree.single import SingleScorer
from abo_vqa.model.adapters import attach_adapters, use_adapter
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.images import ImagePart, process_image
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.serving.checks import check_image, check_options, check_question

_IMAGE = "asked"  # id of the only image; error messages about a question begin with it


# What `Answerer.read` returns: processed, or the checked bytes where a family's images cannot be shared by questions.
ReadImage = ImagePart | bytes


@dataclass(frozen=True)
class Question:
    """A question and the options shown with it, None for an open question."""

    text: str
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Reply:
    """A model's answer to a question.

    answer: its greedy generation. probabilities: of each option, normalized over the options, from the log-probability
    of its tokens and the end token; None for an open question.
    """

    answer: str
    probabilities: dict[str, float] | None


class Answerer:
    """A base model, loaded once, and any number of adapters."""

    def __init__(
        self,
        params: ModelParams,
        adapters: Mapping[str, Path],
        max_new_tokens: int,
        tokens_per_pass: int | Literal["auto"],
        prompts: Mapping[str, PromptParams] | None = None,
    ) -> None:
        """Load the base and the PEFT folders by name; InputError if a model or adapter is missing.

        prompts: by model; the paper's for all others.
        """
        self._processor = load_processor(params)
        # Images are read beside an answer; a tokenizer must not be used by two threads at once.
        self._reader, self._reading = deepcopy(self._processor), Lock()
        base = load_base(params)
        self._context = base.config.get_text_config().max_position_embeddings
        images, limits = {_IMAGE: _gradient()}, (max_new_tokens, tokens_per_pass)
        chosen = scorer_for(base, self._processor, images, _trial(), None, *limits)
        self._shares = isinstance(chosen, Scorer)
        self._model = attach_adapters(base, adapters)
        self.models = (BASE, *adapters)
        self._prompts = prompts or {}
        self._limits = max_new_tokens, tokens_per_pass
        added = self._processor.tokenizer.added_tokens_decoder.values()
        self._special = sorted({self._processor.image_token, *(one.content for one in added if one.special)})

    def answer(self, image: bytes, question: str, options: Sequence[str] | None, model: str = BASE) -> Reply:
        """Answer one question; InputError for a bad image, question or options, or for input beyond the context."""
        return self.answer_checked(image, [Question(check_question(question), check_options(options))], model)[0]

    def answer_checked(self, image: bytes, questions: Sequence[Question], model: str = BASE) -> list[Reply]:
        """Answer questions about one image, encoded once; serving.checks must have accepted the questions.

        Raises InputError for a bad image, and for a text that contains a special token or exceeds the context.
        """
        return self.answer_read(self.read(image), questions, model)

    def read(self, image: bytes) -> ReadImage:
        """Decode an image and process it for `answer_read`, also beside an answer; InputError if it is bad."""
        decoded = check_image(image)
        if not self._shares:
            return image
        with self._reading:
            return process_image(self._reader, decoded)

    def check_tokens(self, questions: Sequence[Question]) -> None:
        """Raise InputError for special tokens such as `<image>` and `<eos>`, which would not be tokenized as text."""
        for question in questions:
            for text in (question.text, *(question.options or ())):
                if found := next((token for token in self._special if token in text), None):
                    raise InputError(f"{text!r} contains {found}, a special token of the model; remove it")

    def answer_read(self, image: ReadImage, questions: Sequence[Question], model: str = BASE) -> list[Reply]:
        """Answer questions about an image of `read`, one call at a time; InputError as of `answer_checked`."""
        self.check_tokens(questions)
        prompt = self._prompts.get(model, PAPER_PROMPT)
        prompts = [Prompt(prompt.text(q.text, q.options), q.options or ()) for q in questions]
        with use_adapter(self._model, model):
            said = self._scorer(image).ask(_IMAGE, prompts)
        return [
            Reply(answer.text, _shares(question.options, answer.log_probabilities))
            for question, answer in zip(questions, said, strict=True)
        ]

    def _scorer(self, image: ReadImage) -> Scorer | SingleScorer:
        max_new_tokens, tokens_per_pass = self._limits
        if isinstance(image, bytes):
            collator = QuestionCollator(self._processor, {_IMAGE: image}, self._context)
            return SingleScorer(self._model, collator, max_new_tokens)
        shared = ImageCollator(self._processor, {_IMAGE: b""}, {_IMAGE: image}, self._context)
        return Scorer(self._model, shared, max_new_tokens, tokens_per_pass)


def _trial() -> dict[str, list[Prompt]]:
    options = ("red", "blue")
    texts = (PAPER_PROMPT.text("Which color does it have?", shown) for shown in (options, None))
    return {_IMAGE: [Prompt(text, options) for text in texts]}


def _gradient() -> bytes:
    with io.BytesIO() as file:
        Image.linear_gradient("L").convert("RGB").save(file, "PNG")
        return file.getvalue()


def _shares(options: tuple[str, ...] | None, scores: tuple[float, ...]) -> dict[str, float] | None:
    if options is None:
        return None
    return dict(zip(options, torch.tensor(scores, dtype=torch.float64).softmax(0).tolist(), strict=True))
