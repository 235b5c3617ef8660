"""Damaged raw outputs and question tables: nothing raises but InputError, and nothing goes missing.

    python benchmarks/fuzz.py --outputs 1000000 --tables 100000
    python benchmarks/fuzz.py --outputs 20000 --seeds ../shared/cases/raw_outputs.jsonl
    python benchmarks/fuzz.py --tables 5000 --seed 7 --processes 1

Raw outputs go through all of stage validate: parsing, repairs, the suite, both tables as Parquet. Every output must
have questions or be unparsable, every question be kept as it was, repaired, or quarantined with a reason, and the clean
ones must pass the suite. Question tables are read as `abo-vqa evaluate` reads them: every row is a question with its
answer among its options, or refused by number; or the file is refused. --seeds: recorded outputs to damage as well.
"""

import argparse
import csv
import gzip
import io
import json
import multiprocessing
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from abo_vqa.commands.question_sets import read_question_set
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import read_params
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.recorded import read_recorded
from abo_vqa.questions.schema import QUARANTINE_SCHEMA, QUESTION_SCHEMA
from abo_vqa.questions.stage import clean_rows, quarantine_rows, raw_output
from abo_vqa.questions.validate import check_clean, curate

# Outputs and tables that are made, and accounted for, together; each with a seed of its own.
OUTPUTS_TOGETHER, TABLES_TOGETHER = 10_000, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=int, default=0, metavar="N", help="how many raw outputs")
    parser.add_argument("--tables", type=int, default=0, metavar="N", help="how many question tables")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch; the next ones count on")
    parser.add_argument("--seeds", type=Path, help="recorded outputs to damage besides those of this file")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.outputs and not arguments.tables:
        parser.error("give --outputs, --tables or both")
    more = tuple(output.output for output in read_recorded(arguments.seeds)) if arguments.seeds else ()
    work = (
        ("raw outputs", arguments.outputs, OUTPUTS_TOGETHER, partial(check_outputs, seeds=(*OUTPUTS, *more))),
        ("question tables", arguments.tables, TABLES_TOGETHER, check_tables),
    )
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for name, count, together, check in work:
            started = time.perf_counter()
            batches = [
                (arguments.seed + place, min(together, count - first))
                for place, first in enumerate(range(0, count, together))
            ]
            found: Counter[str] = Counter()
            for done, counts in enumerate(pool.imap_unordered(partial(_checked, check), batches), 1):
                found += counts
                if done % 10 == 0 or done == len(batches):
                    # Printed as it goes, so that a run that is ended early has counted something.
                    spent = time.perf_counter() - started
                    print(f"{name}, seeds {arguments.seed} to {arguments.seed + len(batches) - 1}: ", end="")
                    print(f"{found[name]:,} of {count:,} in {spent:,.0f} s", flush=True)
            for what, number in sorted(found.items()):
                print(f"    {what:<40} {number:>12,}")


def _checked(check: Any, batch: tuple[int, int]) -> Counter[str]:
    seed, count = batch
    try:
        counts: Counter[str] = check(seed, count)
    except Exception as error:
        raise AssertionError(f"seed {seed}, {count} together: {error!r}") from error
    return counts


def check_outputs(seed: int, count: int, seeds: Sequence[str]) -> Counter[str]:
    """Damage outputs and curate them; AssertionError unless every one is accounted for."""
    params = read_params()
    outputs = [raw_output(asdict(output)) for output in damaged_outputs(count, seed, seeds)]
    curated = curate(outputs, params.validate_, seed)
    check_clean(curated.clean, params.validate_)
    report = curated.report
    ids = [question.qa_id for question in curated.clean] + [question.qa_id for question, _ in curated.quarantined]
    assert len(set(ids)) == len(ids) == len(curated.as_given) == report["questions"]["read"]
    assert sorted(ids) == sorted(question.qa_id for question in curated.as_given)
    assert report["outputs"]["with_questions"] + len(curated.unparsable) == len(outputs) == count
    assert sum(report["outputs"]["read_as"].values()) == count
    assert all(reasons for _, reasons in curated.quarantined)
    images = {output.product_id: output.product_id for output in outputs}
    pa.Table.from_pylist(list(clean_rows(curated, images)), QUESTION_SCHEMA)
    pa.Table.from_pylist(list(quarantine_rows(curated)), QUARANTINE_SCHEMA)
    json.dumps(report, ensure_ascii=False).encode()
    kept = sum(not question.repairs for question in curated.clean)
    return Counter(
        {
            "raw outputs": count,
            "outputs with questions": report["outputs"]["with_questions"],
            "outputs without, unparsable": len(curated.unparsable),
            "questions": len(ids),
            "questions kept as they were": kept,
            "questions repaired": len(curated.clean) - kept,
            "questions quarantined": len(curated.quarantined),
        }
    ) + Counter({f"quarantined: {name}": n for name, n in report["quarantined_by_reason"].items()})


def check_tables(seed: int, count: int) -> Counter[str]:
    """Damage question tables and read them; AssertionError unless every row is accounted for."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter({"question tables": count})
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            path = damaged_table(Path(folder), rng)
            try:
                rows, problems = read_question_set(path)
            except InputError as error:
                assert str(path) in str(error), error
                counts["tables refused"] += 1
            except Exception as error:
                raise AssertionError(
                    f"table {number} ({path.name}): {error!r}: {path.read_bytes()[:2000]!r}"
                ) from error
            else:
                counts["tables read"] += 1
                counts["rows read"] += len(rows)
                counts["rows refused by number"] += len(problems)
                _check_rows(rows, problems)
            path.unlink()
    return counts


def _check_rows(rows: Sequence[dict[str, Any]], problems: Sequence[str]) -> None:
    numbers = [int(re.match(r"row (\d+): ", problem)[1]) for problem in problems]  # type: ignore[index]
    assert len(set(numbers)) == len(numbers), problems
    assert max(numbers, default=0) <= len(rows) + len(problems), problems
    for row in rows:
        assert row["image_id"] and row["question"].strip() and row["answer"].strip(), row
        assert all(isinstance(option, str) and option for option in row["options"]), row
        index = row["answer_index"]
        assert (row["options"][index] == row["answer"]) if row["options"] else index is None, row
        "".join((row["question"], row["answer"], *row["options"], row["qa_id"])).encode()


def damaged_outputs(count: int, seed: int, seeds: Sequence[str] = ()) -> Iterator[RawOutput]:
    """Yield damaged outputs: bytes flipped, cut off, spans doubled, quotes swapped, odd characters, deep nests."""
    rng = random.Random(seed)
    for number in range(count):
        text = _damaged(rng.choice(seeds or OUTPUTS), rng, rng.randint(1, 4))
        yield RawOutput(f"P{number}", f"{number:08x}.jpg", rng.choice(("a", "b")), None, text)


def damaged_table(folder: Path, rng: random.Random) -> Path:
    """Write a table of questions in one of the formats, cells or bytes of it damaged; return its path."""
    rows = [dict(rng.choice(TABLES)) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.7:
        rows = [rows[0] | {key: rng.choice((value, *CELLS)) for key, value in rows[0].items()} for _ in rows]
    for row in rows:
        for name in list(row):
            change = rng.random()
            if change < 0.1:
                row[name] = rng.choice(CELLS)
            elif change < 0.15 and isinstance(row[name], str):
                row[name] = _damaged(row[name], rng, 1)
            elif change < 0.17:
                row[rng.choice(NAMES)] = row.pop(name)
    kind = rng.choice(("csv", "tsv", "json", "jsonl", "parquet", "csv.gz", "jsonl.gz"))
    path = folder / f"table.{kind}"
    if kind == "parquet":
        path.write_bytes(_parquet(rows))
        return path
    text = _written(rows, kind.removesuffix(".gz"), rng)
    data = (_damaged(text, rng, rng.randint(1, 2)) if rng.random() < 0.5 else text).encode(errors="surrogatepass")
    if kind.endswith(".gz"):
        data = gzip.compress(data, 1)
        data = data[: rng.randrange(len(data))] if rng.random() < 0.1 else data
    path.write_bytes(data)
    return path


def _written(rows: Sequence[dict[str, Any]], kind: str, rng: random.Random) -> str:
    if kind in ("json", "jsonl"):
        lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5, default=repr) for row in rows]
        if kind == "jsonl":
            return "\n".join(lines)
        return "[" + ",".join(lines) + "]" if rng.random() < 0.9 else json.dumps({"data": rows}, default=repr)
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, delimiter="\t" if kind == "tsv" else rng.choice(",,,;\t"))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    packed = io.BytesIO()
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
            pq.write_table(pa.table({name: columns[name]}), io.BytesIO())
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):  # what no Parquet file can hold
            columns[name] = pa.array([ascii(value) for value in values])
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


def _damaged(text: str, rng: random.Random, times: int) -> str:
    for _ in range(times):
        text = rng.choice(DAMAGES)(text, rng)
    return text


OUTPUTS = (
    '{"questions": [{"type": "counting", "question": "How many?", "answer": "3", "options": ["1", "2", "3", "4"]}]}',
    '{"questions": [{"type": "existential", "question": "A hat?", "answer": "yes", "options": ["yes", "no"]}]}',
    '```json\n[{"type": "counting", "question": "How many?", "answer": "three", "options": [1, 2, 3.0, true]}]\n```',
    "Sure! ```\n{'questions': [{'question': 'What color?', 'answer': 'B', 'options': ['A) red', 'B) tan',]}]}\n```",
    '{"questions": [{"question": "What shape?", "answer": "oval", "distractors": ["round", "square", "flat"]}, null]}',
    '{"question": "Which?", "answer": "b)", "options": {"A": "left", "B": "right", "C": null, "D": {"E": []}}}',
    '{"question": "What color?", "answer": "tan", "options": ["tan"]}\n{"question": "How many?", "answer": "2"}',
    '1. ```json\n{"question": "Made of?", "answer": "oak"}\n```\n2. ```\n{"question": "A cup?", "answer": "no"}\n```',
    '<think>{"question": "Draft?", "answer": "no"}</think>{"question": "A cup?", "answer": "no", "options": ["no"]}',
    '{"questions": [{"question": "What color?", "answer": "B", "options": "A) red B) tan C) blue D) gray"}]}',
    '[{"question": "How many?", "answer": 0, "option_a": "1", "option_b": 2, "option_c": 3.0, "option_d": "four"}]',
    '[{"question": "Made of?", "answer": "B", "options": [{"A": "oak"}, {"B": "tin"}, {"label": "C", "text": "wax"}]}]',
    '[{"question": "<image> What?", "answer": "hat</s>", "choices": {"option1": "hat", "option2": "cup"}}, {"x": [1]}]',
)

TABLES: tuple[dict[str, Any], ...] = (
    {"image": "a.png", "question": "What color?", "options": ["red", "blue", "tan", "gray"], "answer": "red"},
    {"image": "a.png", "question": "What color?", "options": "['red', 'blue']", "answer": "B", "id": 7},
    {"image": "a.png", "question": "A hat?", "option_a": "yes", "option_b": "no", "option_c": None, "answer": "A"},
    {"image_id": 7, "question": "How many?", "choices": [1, 2, 3.0, "four"], "answer_index": 1},
    {"image_id": 7.0, "question": "How many?", "choices": ["1", "2"], "answer": 1, "answer_index": 1},
    {
        "image": {"bytes": b"\x89PNG", "path": None},
        "question": "What?",
        "options": {"A": "hat", "B": "cup"},
        "answer": "B",
    },
    {"image": "a.png", "question": "Is it?", "options": [True, False], "answer": True, "question_type": "yes/no"},
    {"image": "a.png", "question": "What is it?", "answer": "hat"},
    {"image": "a.png", "question": "<image>What?", "options": ["A. hat", "B. cup"], "answer": "B. cup", "qa_id": "x-1"},
)
NAMES = (
    "image",
    "image_id",
    "question",
    "options",
    "choices",
    "answer",
    "gold",
    "answer_index",
    "option_a",
    "id",
    "x",
    "",
)
CELLS: tuple[Any, ...] = (
    None, "", " ", float("nan"), float("inf"), 0, -1, 3, 2.5, True, False, "nan", "None", "NULL", "[]", "{}", "[1, 2",
    "['a', nan]", "('a', 'b')", [], {}, [None], ["a", "a"], ["a", ""], ["a", None, "b"], [["a"], ["b"]], {"A": "x"},
    {"a": 1, "c": 2}, {"1": "x", "2": "y"}, [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], b"\x00\xff",
    "A) x B) y", "a\u200b", "\u202e", "\x00", "é" * 300, "9" * 5000, 10**30, "../../etc/passwd", "A", "E", "0", "1.0",
    "-" * 50, "a,b;c\td", 'a"b', "a\nb", "＜image＞", "\ufeffid",
)  # fmt: skip


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
    "\x00", "\u200b", "\u00ad", "\ud800", "\\ud800", "\\u12", "é", "漢字", "\u202e", "🎩", "\ufeff", "\\", "//", "/* ",
    "NaN", "-Infinity", "1e999", "9" * 400, "9" * 5000, "-0", "0x1F", "null", "true", ", ,", "}{", "\n\n", "<think>",
    "</think>", "◁think▷", "<image>", "[INST]", "</s>", "```", "'''", '"""', '"type": ["a"],', '"answer": {"a": 1},',
    '"options": 7,', "A) ", "(b)", "3.5e2", "\r", "\t" * 50,
)  # fmt: skip


if __name__ == "__main__":
    main()
