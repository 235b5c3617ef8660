"""A merged model as a folder that transformers' own classes open: weights, configuration, processor."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.utils import cached_file

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import ModelParams
from abo_vqa.common.project import model_source
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.families.lookup import family_of

# Of a base's processor, as repositories have them. Its tokenizer is saved, its image processor too.
_PROCESSOR_FILES = (
    "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip


def save_stock(model: Any, processor: Any, params: ModelParams, folder: Path) -> None:
    """Save a model without adapters, and the processor that it is asked with.

    Generation is greedy, as in the evaluation, and stops at each of the processor's ends.
    """
    before, tokenizer = model.generation_config, processor.tokenizer
    pad = tokenizer.pad_token_id if before.pad_token_id is None else before.pad_token_id
    # Whatever else a published one has, such as a temperature or a penalty, changes the greedy answers.
    model.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=before.bos_token_id, eos_token_id=list(processor.ends), pad_token_id=pad
    )
    model.save_pretrained(folder)
    _save_processor(processor, params, folder)
    for file in folder.glob("*.safetensors"):  # saved for their owner alone, and a server is often another user
        file.chmod((folder / "config.json").stat().st_mode)


def _save_processor(processor: Any, params: ModelParams, folder: Path) -> None:
    if processor.family.processor is None:
        processor.save_pretrained(folder)
        return
    # Ours has no part for videos, without which the stock class does not open what it saves: take the base's files.
    processor.tokenizer.save_pretrained(folder)
    name, commit = model_source(params.base, "model.base")
    for file in _PROCESSOR_FILES:
        found = cached_file(
            name, file, revision=commit, _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
        if found:
            shutil.copyfile(found, folder / file)
    if not any((folder / file).is_file() for file in _PROCESSOR_FILES[-2:]):
        (folder / "chat_template.jinja").write_text(processor.chat_template, encoding="utf-8")


def open_stock(folder: Path, params: ModelParams) -> tuple[Any, Any, str | None]:
    """Return an exported model and its processor, and why the latter is not AutoProcessor's; None: it is.

    The processor has the attributes of `load_processor`'s, its ends those of the folder's generation configuration.
    Raises InputError if the folder cannot be opened.
    """
    device = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype="auto", device_map=device, trust_remote_code=False
    ).eval()
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except (ImportError, OSError, ValueError) as error:
        # Only for the part for videos, which questions about images do without.
        if family_of(model.config).processor is None or "torchvision" not in str(error).lower():
            raise InputError(f"{folder}: AutoProcessor cannot open it: {error}") from error
        processor = load_processor(params.model_copy(update={"base": str(folder)}))
        reason: str | None = "torchvision is not installed, which AutoProcessor needs for this family's videos"
    else:
        reason = None
        # Where torchvision is installed, AutoProcessor resizes with it.
        processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    processor.family = family_of(model.config)
    processor.ends = tuple(model.generation_config.eos_token_id)
    return model, processor, reason
