"""What sharing an image among its questions saves: python benchmarks/shared_image.py (with PYTHONPATH=src).

One forward and backward pass over the same images and questions, once with a sequence per question and once with a
sequence per image, on the demo's geometry with random weights. Prints both times, their ratio, and the ratio of the
tokens processed, which bounds it.
"""

import argparse
import statistics
import time

import torch

from abo_demo.base_model import build_model, train_tokenizer
from abo_demo.teaching import answer_loss
from abo_vqa.model.shared_image import Segment, shared_image_batch

PROMPT = 45  # tokens of a question with its options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--questions", type=int, default=5, help="an image")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(train_tokenizer(["some words to learn from"] * 5))
    prefix = [2, *[model.config.image_token_id] * 64]
    segments = [Segment(torch.randint(20, 1000, (PROMPT,)).tolist(), [40, 1]) for _ in range(args.questions)]
    pixels = torch.randn(args.images, 3, 112, 112)
    shared = shared_image_batch(prefix, [segments] * args.images, 0) | {"pixel_values": pixels}
    naive = shared_image_batch(prefix, [[s] for _ in range(args.images) for s in segments], 0)
    naive |= {"pixel_values": pixels.repeat_interleave(args.questions, 0)}
    seconds, losses = {}, {}
    for name, batch in (("sequence per question", naive), ("sequence per image", shared)):
        times = []
        for _ in range(args.repeats + 1):
            started = time.perf_counter()
            loss, _ = answer_loss(model, batch)
            loss.backward()
            times.append(time.perf_counter() - started)
        seconds[name], losses[name] = statistics.median(times[1:]), loss.item()
        print(f"{name}: {seconds[name]:.3f} s, {batch['input_ids'].numel():,} tokens, loss {losses[name]:.6f}")
    first, second = seconds.values()
    bound = naive["input_ids"].numel() / shared["input_ids"].numel()
    print(f"ratio {first / second:.2f}; tokens' ratio {bound:.2f}; {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
