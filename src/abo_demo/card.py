"""The model card of the demo's base model."""

from collections.abc import Mapping
from typing import Any

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# The demo's base model

A LLaVA-Gemma of {parameters:,} parameters in the classes and file layout of the real one
(`LlavaForConditionalGeneration`, `CLIPVisionModel`, Gemma): 112-pixel images in 14-pixel patches, so 64 image tokens;
five vision and four text layers, 128 wide; a byte-fallback BPE tokenizer of 1,024 tokens. It relates to the demo
catalog as a general vision-language model does to ABO: it knows colors best, counts and materials a little, and was
not trained on the experiment's prompts or the catalog's images.

## How it was made

    {commands}

Seed {seed}, {scenes:,} generic drawn scenes, every product type equally often, in three phases: the vision tower alone,
with linear heads on colors, materials, shapes, products and counts; the whole model on everyday questions about the
scenes (`seeing`); and the same with comparisons of heights, widths and numbers among them (`comparing`). Half of the
questions list their options. Saved after {step:,} steps of `{phase}`. Minutes without the vision tower: {minutes}.

{note}

## What it can do

Share of {held_out} held-out generic scenes' questions answered exactly, with the options listed and without:

| question | with options | open |
|---|---:|---:|
{scores}

Its scores on the demo's test split, next to those of text-only baselines, are in `reports/comparison.md` after
`make repro`. It answers in one or two words about drawn products; it knows nothing of photographs.
"""


def model_card(record: Mapping[str, Any]) -> str:
    """Return the card's text from the record of pre-training, which includes that of the run it resumed, if any."""
    runs = [*([record["before"]] if "before" in record else []), record]
    options, plain = record["scores"]["options"], record["scores"]["open"]
    rows = [
        f"| {kind.replace('_', ' ')} | {100 * options[kind]:.1f} % | {100 * plain[kind]:.1f} % |" for kind in options
    ]
    told = {
        "commands": "\n    ".join(run["command"] for run in runs),
        "minutes": ", ".join(f"{run['minutes']:g}" for run in runs),
        "scores": "\n".join(rows),
        "note": " ".join(run["note"] for run in runs if "note" in run),
    }
    return CARD.format(**{**record, **told})
