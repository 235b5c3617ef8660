"""Save, attach and activate adapters in PEFT's folder format."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import BASE
from abo_vqa.common.storage import temporary_path
from abo_vqa.model.base.parts import vision_parts

WEIGHTS = "adapter_model.safetensors"


def adapter_digest(model: PeftModel) -> str:
    """Return the SHA-256 of the weights that `save_adapter` saves."""
    return _digest(get_peft_model_state_dict(model))


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {weight.dtype} {list(weight.shape)} ".encode())
        found.update(weight.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def save_adapter(model: PeftModel, folder: Path, base: str, card: str, weights: str | None = None) -> None:
    """Save a PEFT folder with the given model card; equal weights give equal bytes.

    weights: their digest by `adapter_digest` when they were validated. RuntimeError if others would be saved.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = temporary_path(folder)
    try:
        model.save_pretrained(str(made))
        if weights not in (None, _digest(load_file(made / WEIGHTS))):
            raise RuntimeError(f"{folder}: the saved weights are not those that were validated; nothing was written")
        settings = json.loads((made / "adapter_config.json").read_text())
        # PEFT keeps these in a set, whose order differs between processes.
        settings["target_modules"] = sorted(settings["target_modules"])
        settings["base_model_name_or_path"] = base
        (made / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        (made / "README.md").write_text(card)
        _replace_folder(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace_folder(made: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for new in made.iterdir():
        new.replace(folder / new.name)


def attach_adapters(base: Any, adapters: Mapping[str, Path]) -> Any:
    """Return the base with all adapters attached by name, in evaluation mode; the base itself without adapters.

    Raises InputError if a folder is not a PEFT folder, or if not every weight of it has a place in the base, or not
    every place a weight.
    """
    model = base
    for name, folder in adapters.items():
        for file in ("adapter_config.json", WEIGHTS):
            if not (folder / file).is_file():
                raise InputError(
                    f"{folder}: no adapter found, {file} is missing; `dvc repro train@{name}` trains it, `dvc pull "
                    f"train@{name}` fetches it"
                )
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
                if model is base:
                    model = PeftModel.from_pretrained(base, str(folder), adapter_name=name)
                # Again for the first one: only this tells which weights found no place.
                loaded = model.load_adapter(str(folder), adapter_name=name)
        except (RuntimeError, ValueError, TypeError, LookupError, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{folder}: this adapter does not fit the base: {reason}") from error
        # PEFT only warns; such a model would answer as its base.
        unused = loaded.unexpected_keys
        unfilled = [key for key in loaded.missing_keys if f".{name}." in f"{key}."]
        if unused or unfilled:
            raise InputError(
                f"{folder}: this adapter does not fit the base: {len(unused)} of its weights have no place, and "
                f"{len(unfilled)} places get none, such as {[*unused, *unfilled][0]}; give an adapter of this base"
            )
    return model.eval()


def use_adapter(model: Any, name: str) -> AbstractContextManager[None]:
    """Context manager: activate one adapter of `attach_adapters`, or none for `base`."""
    if name != BASE:
        model.set_adapter(name)
        return nullcontext()
    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


def adapts_vision(model: Any, name: str) -> bool:
    """Return whether the adapter changes the vision tower, which invalidates the base's cached features."""
    if not isinstance(model, PeftModel):
        return False
    parts = vision_parts(model.get_base_model())
    keys = (key for key, _ in model.named_parameters() if f".lora_A.{name}." in key)
    return any(f".{part}." in key for key in keys for part in parts)
