"""What becomes of recorded outputs: read, repaired, quarantined by reason, clean; all of it accounted for.

    python benchmarks/recorded_questions.py ../shared/abo/qa/llava_v1.6_mistral_7b_raw.jsonl.gz
    python benchmarks/recorded_questions.py ../shared/abo/qa/four_option_letters.csv
    python benchmarks/recorded_questions.py --fuzz 100000
    python benchmarks/recorded_questions.py --fuzz 10000 ../shared/abo/qa/llava_v1.6_mistral_7b_raw.jsonl.gz

No image is needed: an image path stands for its product; of two outputs for one the first counts. With --fuzz, so many
outputs are made by damaging good ones, short ones or those of the file: nothing may raise or go missing.
"""

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from abo_vqa.common.params import read_params
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.recorded import read_recorded
from abo_vqa.questions.parse import read_output
from abo_vqa.questions.validate import check_clean, curate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="recorded outputs, as generate.recorded takes them")
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="damage outputs N times instead")
    arguments = parser.parse_args()
    params = read_params()
    if not arguments.fuzz and not arguments.file:
        parser.error("give a file, or --fuzz")
    outputs = first_of_each(arguments.file) if arguments.file else []
    if arguments.fuzz:
        outputs = list(fuzzed(arguments.fuzz, params.seed, [output.output for output in outputs] or SEEDS))
        print(f"{len(outputs):,} damaged outputs; the slowest took {slowest(outputs):.2f} s to read")
    started = time.process_time()
    curated = curate(outputs, params.validate_, params.seed)
    spent = time.process_time() - started
    check_clean(curated.clean, params.validate_)
    show(curated.report)
    print(f"every one of the {len(curated.clean):,} clean questions passes {params.validate_.suite}")
    print(f"{spent:.1f} s of one core, importing Great Expectations included")


def first_of_each(path: Path) -> list[RawOutput]:
    """Return the first output for every image, and print how many are left out."""
    outputs: dict[str, RawOutput] = {}
    read = 0
    for output in read_recorded(path):
        read += 1
        outputs.setdefault(output.image_path, output)
    if read > len(outputs):
        print(f"{read - len(outputs):,} of {read:,} outputs are for an image that has one already")
    return list(outputs.values())


def show(report: Mapping[str, Any]) -> None:
    """Print the accounting, with the shares of clean and repaired questions."""
    outputs, questions = report["outputs"], report["questions"]
    yielding = outputs["with_questions"] / outputs["read"]
    print(
        f"outputs     {outputs['read']:>7,} = {outputs['with_questions']:,} with questions ({yielding:.2%}) + ", end=""
    )
    print(f"{outputs['unparsable']:,} unparsable; read as {_listed(outputs['read_as'])}")
    clean = questions["clean"] / max(questions["read"], 1)
    print(f"questions   {questions['read']:>7,} = {questions['clean']:,} clean ({clean:.2%}) + ", end="")
    print(f"{questions['quarantined']:,} quarantined: {_listed(report['quarantined_by_reason'])}")
    print(f"clean by type       {_listed(report['clean_by_type'])}")
    print(f"repairs of clean    {_listed(report['repairs'])}")
    for when, found in report["composition"].items():
        share = "-" if found["share"] is None else f"{found['share']:.2%}"
        print(f"images with 1-2-1-1 {when}: {found['1-2-1-1']:,} of {found['images']:,} ({share})")


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"


def slowest(outputs: list[RawOutput]) -> float:
    """Return how many seconds the output that takes longest takes to read."""
    longest = 0.0
    for output in outputs:
        started = time.perf_counter()
        read_output(output.output)
        longest = max(longest, time.perf_counter() - started)
    return longest


SEEDS = (
    '{"questions": [{"type": "existential", "question": "A hat?", "answer": "yes", "options": ["yes", "no"]}]}',
    '```json\n[{"type": "counting", "question": "How many?", "answer": "three", "options": [1, 2, 3.0, true]}]\n```',
    "Sure! ```\n{'questions': [{'question': 'What color?', 'answer': 'B', 'options': ['A) red', 'B) tan',]}]}\n```",
    '{"questions": [{"question": "What shape?", "answer": "oval", "distractors": ["round", "square", "flat"]}, null]}',
    '{"question": "Which?", "answer": "b)", "options": {"A": "left", "B": "right", "C": null, "D": {"E": []}}}',
    '{"question": "What color?", "answer": "tan", "options": ["tan"]}\n{"question": "How many?", "answer": "2"}',
    '1. ```json\n{"question": "Made of?", "answer": "oak"}\n```\n2. ```\n{"question": "A cup?", "answer": "no"}\n```',
)


def fuzzed(count: int, seed: int, seeds: Sequence[str] = SEEDS) -> Iterator[RawOutput]:
    """Yield damaged outputs: bytes flipped, cut off, spans doubled, quotes swapped, odd characters, deep nests."""
    rng = random.Random(seed)
    for number in range(count):
        text = rng.choice(seeds)
        for _ in range(rng.randint(1, 4)):
            text = rng.choice(DAMAGES)(text, rng)
        yield RawOutput(f"P{number}", f"{number:08x}.jpg", rng.choice(("a", "b")), None, text)


def _flip(text: str, rng: random.Random) -> str:
    data = bytearray(text.encode(errors="replace"))
    for _ in range(rng.randint(1, 5)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data.decode(errors="replace")


def _cut(text: str, rng: random.Random) -> str:
    ends = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    return rng.choice((text[: ends[1]], text[ends[0] :], text[: ends[0]] + text[ends[1] :]))


def _double(text: str, rng: random.Random) -> str:
    start, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    return (text[:end] + text[start:end] * rng.randint(1, 4) + text[end:])[:5000]


def _swap_quotes(text: str, rng: random.Random) -> str:
    old, new = rng.sample("\"'`“”,:[]{}", 2)
    return "".join(new if letter == old and rng.random() < 0.5 else letter for letter in text)


def _insert(text: str, rng: random.Random) -> str:
    place = rng.randint(0, len(text))
    return text[:place] + rng.choice(ODD) + text[place:]


def _wrap(text: str, rng: random.Random) -> str:
    left, right = rng.choice(
        (("[", "]"), ('{"questions":', "}"), ("[{", ""), ("```json\n", "```"), ('{"options": [', "]}"))
    )
    depth = rng.choice((1, 2, 5, 30, 300))
    return left * depth + text + right * rng.choice((depth, depth, 0))


DAMAGES = (_flip, _cut, _double, _swap_quotes, _insert, _wrap)
ODD = (
    "\x00", "\ud800", "\\ud800", "\\u12", "é", "漢字", "\u202e", "🎩", "\ufeff", "\\", "//", "/* ", "NaN",
    "-Infinity", "1e999",
    "9" * 400, "9" * 5000, "-0", "0x1F", "null", "true", ", ,", "}{", "\n\n", "<think>", "```", "'''",
    '"""', '"type": ["a"],',
    '"answer": {"a": 1},', '"options": 7,', "A) ", "(b)", "3.5e2", "\r", "\t" * 50,
)  # fmt: skip


if __name__ == "__main__":
    main()
