"""A trained adapter as an ordinary PEFT folder."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import BASE


def save_adapter(model: PeftModel, folder: Path, base: str, card: str) -> None:
    """Save an ordinary PEFT folder with the given model card, the same bytes for the same weights."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary, "adapter")
        model.save_pretrained(str(made))
        settings = json.loads((made / "adapter_config.json").read_text())
        # PEFT keeps these as sets, which come out in a new order in every process.
        settings["target_modules"] = sorted(settings["target_modules"])
        settings["base_model_name_or_path"] = base
        (made / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        (made / "README.md").write_text(card)
        _replace_folder(made, folder)


def _replace_folder(made: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for new in made.iterdir():
        new.replace(folder / new.name)


def load_tuned(base: PreTrainedModel, adapter: Path) -> PeftModel:
    """Lay a trained adapter over a loaded base model; raises InputError if the folder holds none."""
    if not (adapter / "adapter_config.json").is_file():
        raise InputError(f"{adapter}: no adapter here; run `dvc repro train`")
    return PeftModel.from_pretrained(base, str(adapter)).eval()


def lay_over(base: Any, adapters: Mapping[str, Path]) -> Any:
    """Return the model with all adapters over it, in evaluation mode; the base itself where there are none."""
    model = base
    for name, folder in adapters.items():
        if model is base:
            model = PeftModel.from_pretrained(base, str(folder), adapter_name=name)
        else:
            model.load_adapter(str(folder), adapter_name=name)
    return model.eval()


def wearing(model: Any, name: str) -> AbstractContextManager[None]:
    """Have one adapter of a model of `lay_over` at work inside the block, or for `base` none."""
    if name != BASE:
        model.set_adapter(name)
        return nullcontext()
    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


def each_model(base: Any, adapters: Mapping[str, Path]) -> Iterator[tuple[str, Any, bool]]:
    """Yield the base and each adapter over it by name, and whether it sees with other eyes; the base is loaded once."""
    model = lay_over(base, adapters)
    for name in (BASE, *adapters):
        with wearing(model, name):
            yield name, model, any("vision_tower" in key for key in _adapted(model, name))


def _adapted(model: Any, name: str) -> list[str]:
    return [key for key, _ in model.named_parameters() if f".lora_A.{name}." in key]
