"""Export a trained model: merged into its unquantized base, or the adapter alone."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import adapter_folder, read_questions
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import BASE, ModelParams
from abo_vqa.common.project import model_source

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_MARKS = ("config.json", "adapter_config.json")  # one of them is in every export


@dataclass(frozen=True)
class Source:
    """A trained model. name: such as options-1; folder: of its adapter; base: the base's folder or hub id."""

    name: str
    arm: str
    folder: Path
    base: str
    commit: str | None


def source_of(name: str, params: Params) -> Source:
    """Return a trained model by name, a bare arm's first training; InputError if it is unknown or not trained."""
    if name in (BASE, ""):
        raise InputError(f"{name or 'MODEL'}: has no adapter to export; params.yaml has {', '.join(_known(params))}")
    found = params.runs_of(name)[0] if name in params.arms else name
    if found not in params.models():
        raise InputError(f"{name}: no such model; params.yaml has {', '.join(_known(params))}")
    folder = adapter_folder(found)
    if lacking := [file for file in ADAPTER_FILES if not (folder / file).is_file()]:
        raise InputError(
            f"{folder / lacking[0]}: not found; `dvc repro train@{found}` trains it, `dvc pull train@{found}` fetches "
            "it"
        )
    base, commit = model_source(params.model.base, "model.base")
    return Source(found, params.arm_of(found), folder, base, commit)


def _known(params: Params) -> list[str]:
    return [*params.arms, *(name for name in params.models() if name != BASE)]


def check_target(folder: Path, force: bool) -> None:
    """Raise InputError unless an export may be written to the folder: new, empty, or with `force` an earlier export."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or (folder / "params.yaml").exists() or not any((folder / f).is_file() for f in _MARKS):
        raise InputError(f"{folder}: exists and is no exported model; give a new or an empty folder")
    if not force:
        raise InputError(f"{folder}: exists and is not empty; give another folder, or --force to replace it")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Context manager: a new folder beside `folder` that takes its place if the block succeeds, else is removed."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    made.mkdir()
    try:
        yield made
        if folder.exists():
            folder.rename(old)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def export_adapter(source: Source, folder: Path) -> str:
    """Write the PEFT folder alone, which names its base wherever it is read; return what to print."""
    from abo_vqa.export.card import adapter_card

    base = str(Path(source.base).resolve()) if Path(source.base).is_dir() else source.base
    settings = json.loads((source.folder / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": base, "revision": source.commit}
    with replacing_folder(folder) as made:
        shutil.copyfile(source.folder / ADAPTER_FILES[1], made / ADAPTER_FILES[1])
        (made / ADAPTER_FILES[0]).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (made / "README.md").write_text(adapter_card(source, base, settings), encoding="utf-8")
    return f"{source.name}: adapter of rank {settings['r']} over {base}"


def export_merged(source: Source, params: Params, folder: Path, questions: int) -> str:
    """Write the adapter merged into the unquantized base, and prove that it answers alike; return what to print.

    questions: of the test split to ask. Raises InputError, and writes nothing, if in float32 the export answers a
    question unlike the unquantized base with its adapter.
    """
    import torch

    from abo_vqa.export.card import Checked, merged_card, parity_lines
    from abo_vqa.export.parity import Questions, parity
    from abo_vqa.export.stock import open_stock, save_stock
    from abo_vqa.model.base.loading import load_base, load_processor
    from abo_vqa.model.base.memory import free_memory

    asking = Questions(params, source.arm, read_questions("test")[:questions])
    processor, whole = load_processor(params.model), unquantized(params.model)
    quantized = None
    if params.model.quantization.load_in_4bit:
        model: Any = _adapted(load_base(params.model), source)
        quantized = asking.ask(model, processor, f"{source.name} in 4 bit")
        del model
        free_memory()
    model = _adapted(load_base(whole), source)
    unmerged = asking.ask(model, processor, f"{source.name} unquantized")
    with replacing_folder(folder) as made:
        save_stock(model.merge_and_unload(), processor, params.model, made)
        del model
        free_memory()
        opened, stock, reason = open_stock(made, params.model)
        exported = asking.ask(opened, stock, "exported")
        same = parity(unmerged, exported)
        if opened.dtype == torch.float32 and same.equal < same.answers:
            raise InputError(
                f"the export answers {same.answers - same.equal} of {same.answers} prompts unlike the unquantized base "
                f"with its adapter (log-probabilities differ by up to {same.largest:.2g}); nothing is written"
            )
        number_format = str(opened.dtype).removeprefix("torch.")
        against_4bit = None if quantized is None else parity(quantized, exported)
        checked = Checked(number_format, asking.count, against_4bit, same, reason)
        (made / "README.md").write_text(merged_card(source, checked), encoding="utf-8")
    return "\n".join([f"{source.name}: merged into {source.base}, {number_format}", *parity_lines(checked)])


def unquantized(params: ModelParams) -> ModelParams:
    """Return the parameters of the base without quantization: in the computing format on a GPU, float32 on a CPU."""
    import torch

    changes: dict[str, Any] = {"load_in_4bit": False}
    if not torch.cuda.is_available():
        changes["compute_dtype"] = "float32"
    return params.model_copy(update={"quantization": params.quantization.model_copy(update=changes)})


def _adapted(base: Any, source: Source) -> Any:
    from abo_vqa.model.adapters import attach_adapters, use_adapter

    model = attach_adapters(base, {source.name: source.folder})
    use_adapter(model, source.name)
    return model
