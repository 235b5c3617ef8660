"""The model cards of exported models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.statistics.display import markdown_table

if TYPE_CHECKING:
    from abo_vqa.export.export import Source
    from abo_vqa.export.parity import Parity

_MERGED = """---
{base_model}library_name: transformers
pipeline_tag: image-text-to-text
---
# `{name}`, merged into its base

The adapter `{name}` of abo-vqa, added to the unquantized weights of `{base}` in {number_format}.
`AutoModelForImageTextToText.from_pretrained` and `AutoProcessor.from_pretrained` open this folder; it needs neither
PEFT nor bitsandbytes. It answers questions about product images in a word. Generation is greedy and stops at every
token that ended an answer in the evaluation.

The evaluation's pixels are Pillow's. Where torchvision is installed, AutoProcessor resizes images with it, and they
differ by a gray level; `processor.image_processor = AutoImageProcessor.from_pretrained(FOLDER, backend="pil")` brings
Pillow's back.

## Does it answer as the evaluated model?

Asked {questions} test questions, openly and with their options, through this folder opened from disk:

{parity}

{said}

## The adapter's training

{training}
"""
_4BIT = """\
The adapter was trained over a 4-bit base and corrects for that base's rounding. Merged into the unquantized base it
meets other weights, so answers may differ: the first row says by how much. The evaluation's accuracies are those of the
4-bit model, not of this one."""
_UNQUANTIZED = "The adapter was trained and evaluated over an unquantized base, as it is here."
_ADAPTER = """---
{base_model}library_name: peft
---
# Adapter `{name}`

A LoRA adapter of rank {rank} (abo-vqa) over `{base}`, as trained; nothing was merged. PEFT loads it with
`PeftModel.from_pretrained`. vLLM serves it beside its base (needs a GPU; not tried by the command that wrote this):

    vllm serve {base} --enable-lora --max-lora-rank {most} --lora-modules {name}=FOLDER
{limits}
It was evaluated over its base in the format of `params.yaml` (by default 4 bit). Over an unquantized base answers may
differ; `abo-vqa export {name} --to FOLDER` measures by how much.

## Its training

{training}
"""
# Ranks that vLLM's --max-lora-rank takes.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Checked:
    """What was measured of an export.

    questions: asked; against_4bit: compared with the quantized base and the adapter, None for an unquantized project;
    unmerged: compared with the unquantized base and the adapter; no_stock_processor: why the images were not read by
    AutoProcessor, None if they were.
    """

    number_format: str
    questions: int
    against_4bit: "Parity | None"
    unmerged: "Parity"
    no_stock_processor: str | None


def parity_lines(checked: Checked) -> list[str]:
    """Return the measured agreement as a Markdown table, and what has to be said with it."""
    compared = {"4-bit base + adapter": checked.against_4bit, "unquantized base + adapter": checked.unmerged}
    rows = [
        [name, str(p.answers), f"{100 * p.equal / p.answers:.1f} %", str(p.options), f"{p.median:.2g}",
         f"{p.largest:.2g}"]
        for name, p in compared.items() if p
    ]  # fmt: skip
    head = ["compared with", "answers", "equal answers", "options", "median difference", "largest (nats)"]
    lines = markdown_table(head, rows).splitlines()
    if checked.no_stock_processor:
        lines += [
            "",
            f"Images were read by abo-vqa's processor from this folder's files: {checked.no_stock_processor}.",
        ]
    return lines


def merged_card(source: "Source", checked: Checked) -> str:
    """Return the card of a merged model."""
    return _MERGED.format(
        base_model=_base_model(source), name=source.name, base=source.base, number_format=checked.number_format,
        questions=checked.questions, parity="\n".join(parity_lines(checked)),
        said=_4BIT if checked.against_4bit else _UNQUANTIZED, training=_training(source),
    )  # fmt: skip


def adapter_card(source: "Source", base: str, settings: Mapping[str, Any]) -> str:
    """Return the card of an adapter alone; settings: its adapter_config.json."""
    rank = max([settings["r"], *(settings.get("rank_pattern") or {}).values()])
    unfit = [key for key in ("modules_to_save", "use_dora") if settings.get(key)]
    if settings.get("bias", "none") != "none":
        unfit.append("bias")
    limits = f"\nvLLM refuses adapters with {', '.join(unfit)}: export the merged model instead.\n" if unfit else ""
    return _ADAPTER.format(
        base_model=_base_model(source), name=source.name, rank=rank, base=base, limits=limits,
        most=next((most for most in _RANKS if most >= rank), rank), training=_training(source),
    )  # fmt: skip


def _base_model(source: "Source") -> str:
    # A hub checks that it is the id of a repository.
    return "" if Path(source.base).exists() else f"base_model: {source.base}\n"


def _training(source: "Source") -> str:
    """Return the adapter's own card without its front matter and title."""
    card = source.folder / "README.md"
    if not card.is_file():
        return "The adapter has no card."
    text = card.read_text(encoding="utf-8")
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    lines = body.strip().splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()
