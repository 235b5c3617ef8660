"""The layers that train.lora.targets name, looked up in the base model's weights without loading them."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from abo_vqa.common.params.group import ParamsError
from abo_vqa.common.project import model_source

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SUFFIXES = (".weight", ".bias")
_LENGTH = 8  # bytes before the header of a safetensors file, its length


def check_targets(targets: Iterable[str], base: str) -> None:
    """Raise ParamsError for a target that names no layer of the base model; nothing is said of a model not yet here.

    PEFT adapts the others and says nothing.
    """
    layers = layers_of(base)
    for target in targets:
        if layers and not any(layer == target or layer.endswith(f".{target}") for layer in layers):
            known = sorted({name for layer in layers if "norm" not in (name := layer.rpartition(".")[2])})
            near = get_close_matches(target, known, n=1)
            meant = f", did you mean {near[0]}?" if near else ""
            raise ParamsError(
                f"params.yaml: train.lora.targets: {base} has no layer {target}{meant}; it has {', '.join(known)}"
            )


def layers_of(base: str) -> set[str]:
    """Return the names of the layers with weights; empty where the weights are not on this machine, or in parts."""
    name, commit = model_source(base, "model.base")
    if (index := _file(name, commit, INDEX)) is not None:
        weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    elif (file := _file(name, commit, WEIGHTS)) is not None:
        with file.open("rb") as opened:
            weights = json.loads(opened.read(int.from_bytes(opened.read(_LENGTH), "little")))
    else:
        return set()
    # Beside layers there are parameters of the model itself, such as an embedding of positions.
    return {weight.rpartition(".")[0] for weight in weights if weight.endswith(SUFFIXES)}


def _file(name: str, commit: str | None, file: str) -> Path | None:
    if Path(name).is_dir():
        return path if (path := Path(name, file)).is_file() else None
    # Imported here: only models of the hub need it.
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, file, revision=commit)
    except ValueError:  # a folder that is not there; DVC or the model's loader names it
        return None
    return Path(found) if isinstance(found, str) else None
