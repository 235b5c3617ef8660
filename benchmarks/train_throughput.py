"""Questions trained on a second, peak memory and losses: TRL's SFTTrainer as its documentation has it, against ours.

    PYTHONPATH=src python benchmarks/train_throughput.py [--real-data FOLDER] [--grow [--plot FILE]] \
        [--geometry llava-gemma-2b] [--dtype float16]

The same model with random weights, data, NF4, adapters, effective batch of 18 questions, optimizer, order and
answer-only loss for all contenders, one process each, one after the other. The geometry llava-gemma-2b wants a GPU;
--grow tells how the ratio depends on questions per image and image tokens. --real-data names a folder with a 7B model's
recorded questions under qa/; without it the demo's are asked.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from geometry import GEOMETRIES, photographs, questions, save_model

QUESTIONS = 18  # of an optimizer step
# Questions per image, image tokens. CLIP takes squares of patches: 34 x 34 is the nearest to 1,152 tokens.
GROWTH = [(count, 576) for count in (1, 2, 5, 10)] + [(5, side * side) for side in (8, 12, 34)]
STOCK, NAIVE, SHARED, CACHED = "TRL", "question", "image", "image + features"
CONTENDERS = {
    STOCK: "TRL SFTTrainer, its vision collator",
    NAIVE: "ours, a sequence per question",
    SHARED: "ours, a sequence per image",
    CACHED: "ours, a sequence per image, cached features",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real-data", type=Path)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="narrow")
    parser.add_argument("--dtype", help="of the computation; default: bfloat16 on a GPU, else float32")
    parser.add_argument("--image-tokens", type=int, default=576)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--grow", action="store_true", help="also vary questions per image and image tokens")
    parser.add_argument("--plot", type=Path, help="with --grow, file of the figure (SVG)")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps; the first is not timed")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        print(json.dumps(train(args.contender, args.folder, args.steps, args.dtype)))
        return
    print(f"{machine()}\n\n5 questions per image, {args.image_tokens} image tokens, {QUESTIONS} questions a step:\n")
    results = compare(args, 5, args.image_tokens, args.contenders, args.steps)
    table(results)
    if args.grow:
        grow(args)


def compare(args: Any, per_image: int, image_tokens: int, contenders: list[str], steps: int) -> dict[str, Any]:
    """Prepare model and questions once, then run every contender in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = questions(args.real_data, -(-QUESTIONS * steps // per_image), per_image)[: QUESTIONS * steps]
        (folder / "rows.json").write_text(json.dumps(rows))
        save_model(folder / "model", rows, args.geometry, image_tokens)
        results = {}
        for contender in contenders:
            command = [sys.executable, __file__, "--contender", contender, "--folder", str(folder)]
            command += ["--steps", str(steps), *(["--dtype", args.dtype] if args.dtype else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[contender] = json.loads(done.stdout.splitlines()[-1])
    return results


def train(contender: str, folder: Path, steps: int, dtype: str | None) -> dict[str, Any]:
    """Train on the prepared questions; return seconds per step, peak memory, tokens, losses and the work done."""
    import torch
    from transformers import TrainerCallback

    from abo_vqa.common.params import read_params
    from abo_vqa.common.params.model import ArmParams
    from abo_vqa.model.base.loading import load_base, load_processor
    from abo_vqa.training.plan import training_questions

    rows = json.loads((folder / "rows.json").read_text())
    images = photographs({row["image_id"] for row in rows})
    params = read_params(Path(__file__).parents[1] / "params.yaml")
    cuda = torch.cuda.is_available()
    quantization = params.model.quantization.model_copy(
        update={"compute_dtype": dtype or ("bfloat16" if cuda else "float32")}
    )
    model_params = params.model.model_copy(update={"base": str(folder / "model"), "quantization": quantization})
    lora = params.train.lora.model_copy(update={"dropout": 0.0})
    passes = {"batch_size": 3, "accumulation": 6} if contender in (STOCK, NAIVE) and not cuda else {}
    settings = params.train.model_copy(update={"lora": lora, "epochs": 1, "save_steps": 10**6, **passes})
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    base, processor = load_base(model_params), load_processor(model_params)
    dataset = training_questions(rows, ArmParams(options_first=1.0, options_last=1.0), 1, 0, by_image=True)
    torch.manual_seed(0)
    started = time.perf_counter()
    counter = Tokens()
    if contender == STOCK:
        losses = stock(base, processor, dataset, images, settings, folder, Clock(), counter)
    else:
        losses = ours(contender, base, processor, dataset, images, settings, folder, Clock(), counter)
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    spent = [after - before for before, after in pairwise(times)]
    return {
        "seconds": sorted(spent)[len(spent) // 2],
        "first": times[0] - started,
        "peak_mb": peak / 2**20,
        "losses": losses,
        **counter.per_step(steps),
    }


class Tokens:
    """Counts what is processed and estimates its floating-point operations from the batches' shapes."""

    def __init__(self) -> None:
        self.tokens, self.flops = 0, 0.0

    def watch(self, collate: Any, config: Any, heads_everywhere: bool) -> Any:
        """Return `collate`, counting every batch that it makes."""
        text, vision = config.get_text_config(), config.vision_config
        layer = (
            text.hidden_size * text.head_dim * (2 * text.num_attention_heads + 2 * text.num_key_value_heads)
            + 3 * text.hidden_size * text.intermediate_size
        )
        per_image_token = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size

        def counting(examples: Any) -> Any:
            batch = collate(examples)
            rows, length = batch["input_ids"].shape
            self.tokens += rows * length
            # Forward, and backward through frozen weights to the activations: twice 2 operations a weight and token.
            linear = 4 * rows * length * layer * text.num_hidden_layers
            attention = 2 * 4 * rows * length**2 * text.num_attention_heads * text.head_dim * text.num_hidden_layers
            labeled = int((batch["labels"] != -100).sum())
            scored = rows * length if heads_everywhere else labeled
            head = 4 * scored * text.hidden_size * text.vocab_size
            self.flops += linear + attention + head
            # TRL's batch has the pixels of all images, ours those of each; cached features need no tower.
            each = [batch] if "pixel_values" in batch else batch.get("images", [])
            if images := sum(image["pixel_values"].shape[0] for image in each if "pixel_values" in image):
                patches = (vision.image_size // vision.patch_size) ** 2 + 1
                seen = 2 * patches * per_image_token + 4 * patches**2 * vision.hidden_size
                self.flops += images * seen * vision.num_hidden_layers
            return batch

        return counting

    def per_step(self, steps: int) -> dict[str, float]:
        return {"tokens": self.tokens / steps, "flops": self.flops / steps}


def stock(
    base: Any, processor: Any, dataset: Any, images: Any, settings: Any, folder: Path, clock: Any, count: Tokens
) -> Any:
    """Train as TRL's documentation shows it for vision models: prompt and completion, its own collator."""
    import torch
    from datasets import Dataset
    from trl import SFTTrainer

    from abo_vqa.common.storage import open_image
    from abo_vqa.model.base.prompts import user_turn
    from abo_vqa.training.settings import lora_config, trainer_arguments

    examples = [
        {
            "images": [open_image(row["image"], images[row["image"]])],
            "prompt": user_turn(row["text"]),
            "completion": [{"role": "assistant", "content": [{"type": "text", "text": row["answer"]}]}],
        }
        for row in dataset
    ]
    arguments = trainer_arguments(settings, base.dtype, 0, folder / "scratch", validated=False)
    arguments.train_sampling_strategy = "sequential"
    arguments.dataset_kwargs = None
    arguments.logging_steps = 1
    trainer = SFTTrainer(
        model=base, args=arguments, train_dataset=Dataset.from_list(examples), processing_class=processor,
        peft_config=lora_config(settings.lora, base), callbacks=[clock],
    )  # fmt: skip
    trainer.data_collator = count.watch(trainer.data_collator, base.config, not torch.cuda.is_available())
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def ours(
    contender: str,
    base: Any,
    processor: Any,
    dataset: Any,
    images: Any,
    settings: Any,
    folder: Path,
    clock: Any,
    count: Tokens,
) -> Any:
    """Train as the stage train does."""
    from abo_vqa.model.collators import QuestionCollator
    from abo_vqa.model.features import ImageFeatures
    from abo_vqa.model.shared_image import ImageCollator
    from abo_vqa.training import trainer as training

    if contender == NAIVE:
        collator: Any = QuestionCollator(processor, images, 8192)
    else:
        features = ImageFeatures(folder / "features", images, base, processor) if contender == CACHED else None
        collator = ImageCollator(processor, images, features, 8192)

    class Counted:
        processor = collator.processor
        __call__ = staticmethod(count.watch(collator, base.config, heads_everywhere=False))

    result = training.train_arm(
        base, Counted(), dataset, [], settings, 0, folder / f"scratch-{contender}", callbacks=[clock]
    )
    return [row["loss"] for row in result.curve]


def table(results: dict[str, Any]) -> None:
    """Print one row per contender.

    by operations: the ratio that floating-point operations alone would give. of the peak: those of a step in its time,
    against the processor's or GPU's peak (`abo-vqa plan`).
    """
    from abo_vqa.planning.cards import card

    reference, peak = results[STOCK], card(None).operations
    print(
        "| | s/step | questions/s | ratio | by operations | of the peak | tokens/step | peak MB | first loss | last |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, row in results.items():
        print(
            f"| {CONTENDERS[name]} | {row['seconds']:.2f} | {QUESTIONS / row['seconds']:.2f} "
            f"| {reference['seconds'] / row['seconds']:.1f} | {reference['flops'] / row['flops']:.1f} "
            f"| {row['flops'] / row['seconds'] / peak:.0%} | {row['tokens']:,.0f} | {row['peak_mb']:,.0f} "
            f"| {row['losses'][0]:.5f} | {row['losses'][-1]:.5f} |"
        )


def grow(args: Any) -> None:
    """Print how the ratio grows with questions per image and with image tokens; draw it where --plot says."""
    print("\n| questions per image | image tokens | TRL questions/s | ours | ratio | by operations |")
    print("|--:|--:|--:|--:|--:|--:|")
    rows = []
    for per_image, tokens in GROWTH:
        found = compare(args, per_image, tokens, [STOCK, CACHED], 2)
        first, second = found[STOCK], found[CACHED]
        ratio, limit = first["seconds"] / second["seconds"], first["flops"] / second["flops"]
        rows.append((per_image, tokens, ratio, limit))
        print(
            f"| {per_image} | {tokens} | {QUESTIONS / first['seconds']:.2f} | {QUESTIONS / second['seconds']:.2f} "
            f"| {ratio:.1f} | {limit:.1f} |",
            flush=True,
        )
    if args.plot:
        draw(args.plot, rows)


def draw(path: Path, rows: list[tuple[int, int, float, float]]) -> None:
    """Draw ratio and limit against questions per image, and against image tokens."""
    from abo_vqa.common.figures import COLORS, figure

    with figure(path, 7.5, 3) as drawn:
        for axes, column, fixed, label in zip(
            drawn.subplots(1, 2, sharey=True), (0, 1), ((1, 576), (0, 5)), ("questions per image", "image tokens"),
            strict=True,
        ):  # fmt: skip
            chosen = sorted(row for row in rows if row[fixed[0]] == fixed[1])
            for place, name, color in ((2, "measured", COLORS[0]), (3, "by operations", COLORS[1])):
                axes.plot(
                    [row[column] for row in chosen], [row[place] for row in chosen], "o-", label=name, color=color
                )
            axes.set_xlabel(label)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        drawn.axes[0].set_ylabel("questions/s, times TRL's")
        drawn.axes[0].legend(frameon=False)


def machine() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    main()
