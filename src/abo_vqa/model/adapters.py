"""A trained adapter as an ordinary PEFT folder."""

import json
import tempfile
from pathlib import Path

from peft import PeftModel


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
