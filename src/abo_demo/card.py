"""The model card of the demo's base model."""

from collections.abc import Mapping
from typing import Any

from abo_demo.dialect import OWN_WORDS

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# The demo's base model

A LLaVA-Gemma of {parameters:,} parameters in the classes and file layout of the real one
(`LlavaForConditionalGeneration`, `CLIPVisionModel`, Gemma): 112-pixel images in 14-pixel patches, so 64 image tokens;
five vision and four text layers, 128 wide; a byte-fallback BPE tokenizer of 1,024 tokens. It relates to the demo
catalog as a general vision-language model does to a shop's: it sees colors, counts and materials a little, names hues
and numbers, and compares numbers, in other words than the shop, and was not trained on the experiment's prompts or the
catalog's images.

## How it was made

    {commands}

Seed {seed}, {scenes:,} generic drawn scenes, every product type equally often, in four phases: the vision tower alone,
with linear heads on colors, materials, shapes, products and counts; the whole model on everyday questions about the
scenes (`seeing`); the same with comparisons of heights, widths and numbers among them (`comparing`); and the language
model alone, the vision tower frozen, on words of its own (`naming`). Half of the questions list their options. Saved
after {step:,} steps of `{phase}`. Minutes without the vision tower: {minutes}.

{note}

## Its own words

Taught on purpose, so that fine-tuning has something to learn from the image: in `naming` the right answer was the
base's own word, and among the shop's words for the same the answer was drawn at random.

| shop | base |
|---|---|
{words}

## What it can do

Share of {held_out} held-out generic scenes' questions answered exactly, in the shop's words and in its own:

| question | {columns} |
|---|{rule}
{scores}

Its scores on the demo's test split, next to those of text-only baselines, are in `reports/comparison.md` after
`make repro`. It answers in one or two words about drawn products; it knows nothing of photographs.
"""


def model_card(record: Mapping[str, Any]) -> str:
    """Return the card's text from the record of pre-training, which includes those of the phases before."""
    runs = [record]
    while before := runs[0].get("before"):
        runs.insert(0, before)
    scores: dict[str, dict[str, float]] = record["scores"]
    rows = [
        f"| {kind.replace('_', ' ')} | {' | '.join(f'{100 * of_kind[kind]:.1f} %' for of_kind in scores.values())} |"
        for kind in scores["options"]
    ]
    told = {
        "commands": "\n    ".join(dict.fromkeys(run["command"] for run in runs)),
        "minutes": ", ".join(f"{run['minutes']:g}" for run in runs),
        "columns": " | ".join(scores),
        "rule": "---:|" * len(scores),
        "scores": "\n".join(rows),
        "note": " ".join(run["note"] for run in runs if "note" in run),
        "words": "\n".join(f"| {shop} | {own} |" for shop, own in OWN_WORDS.items()),
    }
    return CARD.format(**{**record, **told})
