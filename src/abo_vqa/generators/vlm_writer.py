"""Write questions about product images with a vision-language model (paper, section 3.1).

An image's output depends on the model, the prompt, the parameters, the seed and the image. Its random draws do not
depend on the rest of the batch, but its logits do: their last bits differ with the padding and the batch's shape. So
the order of the images and the batch size fix the batches, and a run that is interrupted between two batches and
resumed gives the same bytes as one that is not, on the same hardware. A batch that does not fit into memory is halved,
and the same holds if memory runs out at the same places.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xgrammar
from accelerate.utils.memory import clear_device_cache
from transformers import AutoProcessor, GenerationConfig

from abo_vqa.common.digests import cannot_open_model
from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import VlmParams
from abo_vqa.common.project import model_source
from abo_vqa.common.storage import open_image
from abo_vqa.generators.output_schema import failure_of, most_new_tokens, question_schema
from abo_vqa.generators.sampling import logits_processors
from abo_vqa.model.base.loading import load_base
from abo_vqa.model.base.memory import cache_bytes, gpu_memory, images_at_once
from abo_vqa.model.base.prompts import adds_begin_token, render_prompt

OUT_OF_MEMORY = "out_of_memory"
# Images whose prompts are measured: LLaVA-NeXT's tiles depend on the shape.
MEASURED = 16


@dataclass(frozen=True)
class Picture:
    """A product image: its path in the catalog's archive, and the file's bytes."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Output:
    """The model's output for one image. failure: its kind of failure, or None.

    text: verbatim; None if the image alone did not fit into memory.
    """

    image_path: str
    text: str | None
    failure: str | None


@dataclass(frozen=True)
class Batch:
    """The outputs of one batch, and the maximum size of the next."""

    outputs: list[Output]
    batch_size: int


def generate_batches(
    generate: Callable[[Sequence[Picture]], list[Output]], pictures: Sequence[Picture], batch_size: int
) -> Iterator[Batch]:
    """Generate for all pictures, in order, batch by batch; a batch that does not fit into memory is halved.

    Later batches keep the smaller size. A picture that does not fit alone is recorded as failed and skipped.
    """
    place = 0
    while place < len(pictures):
        chosen = pictures[place : place + batch_size]
        outputs = unless_out_of_memory(generate, chosen)
        if outputs is None:
            # Only after the exception and the tensors in its traceback are gone.
            clear_device_cache(garbage_collection=True)
            if len(chosen) > 1:
                batch_size = len(chosen) // 2
                continue
            outputs = [Output(chosen[0].path, None, OUT_OF_MEMORY)]
        place += len(chosen)
        yield Batch(outputs, batch_size)


def unless_out_of_memory(
    generate: Callable[[Sequence[Picture]], list[Output]], pictures: Sequence[Picture]
) -> list[Output] | None:
    """Return the outputs for pictures; None if memory runs out."""
    try:
        return generate(pictures)
    except (MemoryError, torch.OutOfMemoryError):
        return None
    except RuntimeError as error:
        # torch.OutOfMemoryError comes from the GPU's caching allocator only. accelerate's find_executable_batch_size
        # would miss CUBLAS_STATUS_ALLOC_FAILED and start again from the first picture.
        signs = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
        if any(sign in str(error) for sign in signs):
            return None
        raise


class QuestionWriter:
    """A model, its processor and the compiled grammar of its outputs; a call writes one output per image."""

    def __init__(self, params: VlmParams, prompt: str, seed: int) -> None:
        """Load the model; raises InputError if it cannot be loaded or has no chat template."""
        self._params, self._seed = params, seed
        self._schema = question_schema(params.longest_question, params.longest_word)
        try:
            name, commit = model_source(params.base, "generate.vlm.base")
            self._processor = AutoProcessor.from_pretrained(
                name, revision=commit, backend="pil", trust_remote_code=False
            )
            self._model: Any = load_base(params)
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise cannot_open_model(params.base, "generate.vlm.base", error) from error
        if not getattr(self._processor, "chat_template", None):
            raise InputError(f"generate.vlm.base: {params.base} has no chat template; set a model that has one")
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"
        ends = self._model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends: list[int] = list(ends) if isinstance(ends, list) else [ends]
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.convert_ids_to_tokens(self._ends[0])
        # Replace the sampling settings of the model's repository: only params.yaml sets them.
        self._model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=most_new_tokens(params),
            eos_token_id=self._ends,
            pad_token_id=tokenizer.pad_token_id,
        )
        self._prompt = render_prompt(self._processor, prompt)
        self._add_begin = adds_begin_token(self._processor, self._prompt)
        vocabulary = self._model.config.get_text_config().vocab_size
        self._grammar = compile_grammar(tokenizer, vocabulary, self._ends, self._schema) if params.constrained else None

    def batch_size(self, pictures: Sequence[Picture]) -> int:
        """Return how many images to write about at once; `auto` measures the prompts of the first of them."""
        setting, memory = self._params.batch_size, gpu_memory()
        if setting != "auto" or memory is None:
            return images_at_once(setting, 0, 0, 0, 0, None)
        longest = max(self._encode([picture])["input_ids"].shape[1] for picture in pictures[:MEASURED])
        tokens, config = longest + most_new_tokens(self._params), self._model.config
        weights, vocabulary = self._model.get_memory_footprint(), config.get_text_config().vocab_size
        return images_at_once(setting, tokens, cache_bytes(config, self._model.dtype), vocabulary, weights, memory)

    def _encode(self, pictures: Sequence[Picture]) -> Any:
        return self._processor(
            images=[open_image(picture.path, picture.data) for picture in pictures],
            text=[self._prompt] * len(pictures),
            padding=True,
            add_special_tokens=self._add_begin,
            return_tensors="pt",
        )

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture]) -> list[Output]:
        """Write the outputs of one batch; raises InputError for an unreadable image or too long a prompt."""
        encoded = self._encode(pictures)
        length = encoded["input_ids"].shape[1]
        self._check_length(length)
        rngs = [derive_rng(self._seed, "generate", picture.path) for picture in pictures]
        generated = self._model.generate(
            **encoded.to(self._model.device),
            logits_processor=logits_processors(self._params.sampling, self._grammar, rngs),
        )
        outputs = []
        for picture, tokens in zip(pictures, generated[:, length:].tolist(), strict=True):
            ended = any(end in tokens for end in self._ends)
            text = self._processor.tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            outputs.append(Output(picture.path, text, failure_of(text, ended, self._schema)))
        return outputs

    def _check_length(self, prompt: int) -> None:
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        longest = prompt + most_new_tokens(self._params)
        if context is not None and longest > context:
            raise InputError(
                f"generate.vlm: {prompt} tokens of prompt and image and {longest - prompt} of output do not fit into "
                f"the context of {self._params.base}, {context}; lower longest_question, longest_word or max_new_tokens"
            )


def compile_grammar(
    tokenizer: Any, vocabulary: int, ends: list[int], schema: dict[str, Any]
) -> xgrammar.CompiledGrammar:
    """Return the outputs' grammar over a model's tokens. vocabulary: number of scores; ends: ids of end tokens."""
    tokens = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary, stop_token_ids=ends)
    # Free whitespace could go on forever.
    return xgrammar.GrammarCompiler(tokens).compile_json_schema(schema, any_whitespace=False)
