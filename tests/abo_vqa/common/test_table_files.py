"""A table is read the same from each format that people write, or refused with the line and what it looks like."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from abo_vqa.commands.question_sets import read_question_set
from abo_vqa.common.cells import is_missing
from abo_vqa.common.errors import InputError
from abo_vqa.common.table_files import read_table
from abo_vqa.common.words import clean_text, fold, normalize

Question = tuple[str, list[str], int]  # text, options, place of the answer


def is_plain(text: str) -> bool:
    return clean_text(text).strip() == text and len(fold(text)) > 1 and not is_missing(text)


WORDS = st.text("abXY019 ,;|\t'\"éß漢-[{", min_size=2, max_size=9).filter(is_plain)
OPTIONS = st.lists(WORDS, min_size=2, max_size=4, unique_by=(fold, normalize))
TABLES = st.lists(
    OPTIONS.flatmap(lambda options: st.tuples(WORDS, st.just(options), st.integers(0, len(options) - 1))),
    min_size=1,
    max_size=4,
)

OptionForm = Callable[[list[str]], dict[str, Any]]
OPTION_FORMS: dict[str, OptionForm] = {
    "list": lambda options: {"options": options},
    "json": lambda options: {"options": json.dumps(options)},
    "python": lambda options: {"choices": repr(options)},
    "object": lambda options: {"options": dict(zip("ABCD", options, strict=False))},
    "numbered": lambda options: {"options": json.dumps(dict(zip("1234", options, strict=False)))},
    "objects": lambda options: {"options": [{"label": x, "text": y} for x, y in zip("abcd", options, strict=False)]},
    "two lists": lambda options: {"choices": {"text": options, "label": list("ABCD"[: len(options)])}},
    "columns": lambda options: {f"option_{letter}": text for letter, text in zip("abcd", options, strict=False)},
    "letters": lambda options: dict(zip("ABCD", options, strict=False)),
    "padded": lambda options: {"options": [*options, *[None] * (4 - len(options))]},
}
ANSWER_FORMS: dict[str, Callable[[list[str], int], dict[str, Any]]] = {
    "text": lambda options, place: {"answer": options[place]},
    "letter": lambda options, place: {"label": f"({'ABCD'[place]})"},
    "label": lambda options, place: {"gold": f"{'ABCD'[place]}) {options[place]}"},
    "index": lambda options, place: {"answer_index": place},
    "float": lambda options, place: {"correct_choice_idx": float(place)},
    "both": lambda options, place: {"answer": options[place], "answer_idx": str(place)},
}


def as_cell(value: Any) -> str:
    return "" if value is None else json.dumps(value) if isinstance(value, list | dict) else str(value)


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",", **options: Any) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, **options)
    writer.writerow(columns)
    writer.writerows([as_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def filled(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=object)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    data = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist([dict.fromkeys(key for row in rows for key in row) | row for row in rows]), data
    )
    return data.getvalue()


FORMATS: dict[str, tuple[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "lines": ("x.jsonl", lambda rows: "".join(json.dumps(row) + "\n\n" for row in rows).encode("utf-8-sig")),
    "lines, no ASCII": ("x.jsonl", lambda rows: "\r\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode()),
    "lines called JSON": ("x.json", lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    "JSON": ("x.json", lambda rows: json.dumps(rows).encode("utf-16")),
    "JSON called lines": ("x.jsonl", lambda rows: json.dumps(rows, indent=1).encode()),
    "packed": ("x.json.gz", lambda rows: gzip.compress(json.dumps({"info": {"v": 1}, "data": rows}).encode())),
    "packed, not said": ("x.jsonl", lambda rows: gzip.compress("\n".join(map(json.dumps, rows)).encode())),
    "columns": ("x.json", lambda rows: filled(rows).to_json().encode()),
    "split": ("x.json", lambda rows: filled(rows).to_json(orient="split").encode()),
    "CSV": ("x.csv", lambda rows: as_csv(rows).encode()),
    "all quoted": ("x.CSV", lambda rows: as_csv(rows, quoting=csv.QUOTE_ALL).encode("utf-8-sig")),
    "no mark": ("x.csv", lambda rows: as_csv(rows).encode("utf-16-le")),
    "semicolons": ("x.csv", lambda rows: as_csv(rows, ";", lineterminator="\n").encode("utf-16")),
    "tabs": ("x.tsv.gz", lambda rows: gzip.compress(as_csv(rows, "\t").encode())),
    "Excel": ("x.csv", lambda rows: f"sep=;\r\n{as_csv(rows, ';')}".encode("utf-8-sig")),
    "bars": ("x.csv", lambda rows: as_csv(rows, "|").encode()),
    "Parquet": ("x.parquet", parquet),
}


@settings(max_examples=150)
@given(TABLES, st.sampled_from(list(OPTION_FORMS)), st.sampled_from(list(ANSWER_FORMS)), st.sampled_from(list(FORMATS)))
def test_the_same_questions_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, table: list[Question], options: str, answer: str, kind: str
) -> None:
    name, write = FORMATS[kind]
    rows = [
        {"image": f"{n}.png", "question": text, **OPTION_FORMS[options](given), **ANSWER_FORMS[answer](given, place)}
        for n, (text, given, place) in enumerate(table)
    ]
    path = tmp_path_factory.mktemp("table") / name
    path.write_bytes(write(rows))
    read, problems = read_question_set(path)
    assert problems == []
    assert [(row["question"], row["options"], row["answer_index"]) for row in read] == table
    assert [row["image_id"] for row in read] == [f"{n}.png" for n in range(len(table))]


def test_objects_by_id_keep_their_ids(tmp_path: Path) -> None:
    rows = {key: {"image": "x", "question": "?", "answer": "red"} for key in ("q7", "q3")}
    (tmp_path / "x.json").write_text(json.dumps(rows))
    assert [row["qa_id"] for row in read_question_set(tmp_path / "x.json")[0]] == ["q7", "q3"]
    rows["q7"]["question_id"], rows["q3"]["question_id"] = "a", "b"
    (tmp_path / "x.json").write_text(json.dumps(rows))
    assert [row["qa_id"] for row in read_question_set(tmp_path / "x.json")[0]] == ["a", "b"]
    (tmp_path / "x.json").write_text(json.dumps(rows["q7"]))
    assert [row["qa_id"] for row in read_question_set(tmp_path / "x.json")[0]] == ["a"], "one question"


NUMBERS = [2**53 + 1, 2**62 + 1, 7]


def test_numbers_are_not_converted(tmp_path: Path) -> None:
    rows = [{"image_id": number, "question": "?", "answer": "x", "tenth": 0.1} for number in NUMBERS]
    rows.append({"image_id": None, "question": "?", "answer": "x", "tenth": None})
    for name, data in {
        "x.json": json.dumps(rows).encode(),
        "x.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "x.csv": as_csv(rows).encode(),
        "x.parquet": parquet(rows),
    }.items():
        (tmp_path / name).write_bytes(data)
        read, problems = read_question_set(tmp_path / name)
        assert [row["image_id"] for row in read] == list(map(str, NUMBERS))
        assert problems == ["row 4: no image"]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.decimal128(5, 1)])
def test_a_tenth_is_a_tenth_of_any_precision(tmp_path: Path, kind: pa.DataType) -> None:
    values = [Decimal(text) if pa.types.is_decimal(kind) else np.float64(text) for text in ("0.1", "2", "0.5")]
    table = pa.table(
        {"image": ["x"], "question": ["?"], "answer": ["B"], "options": pa.array([values], pa.list_(kind))}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    [row], _ = read_question_set(tmp_path / "x.parquet")
    assert row["options"] == ["0.1", "2", "0.5"]


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.json"])
def test_a_column_with_a_gap_is_read_as_without_it(tmp_path: Path, name: str) -> None:
    """pandas makes floats of integers beside a gap, and NaN of what is missing."""
    table = pd.DataFrame(
        {
            "image": [7, 8, None],
            "question": ["How many?", "Is it red?", None],
            "option_a": [1, True, None],
            "option_b": [2, False, None],
            "option_c": [3, None, None],
            "answer": ["3", True, None],
        }
    )
    table["option_c"] = table["option_c"].astype("float64")
    if name == "x.parquet":
        pq.write_table(
            pa.Table.from_pandas(
                table.assign(**{key: table[key].astype(str) for key in ("option_a", "option_b", "answer")})
            ),
            tmp_path / name,
        )
    elif name == "x.csv":
        table.to_csv(tmp_path / name, index=False)
    else:
        (tmp_path / name).write_text(json.dumps(table.to_dict("records")))
    read, problems = read_question_set(tmp_path / name)
    assert [(row["image_id"], row["options"], row["answer"]) for row in read] == [
        ("7", ["1", "2", "3"], "3"),
        ("8", ["yes", "no"], "yes"),
    ]
    assert len(problems) == (name != "x.csv"), "a line of commas is no row"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv", "image,question\na,b,\n", "line 2 has 3 fields, the header 2; quote fields with commas"),
        ("x.csv", "sep=;\nimage;question\n\n\na;b;c\n", "line 5 has 3 fields, the header 2"),
        ("x.csv", 'image,question\na,"b\nc,d\n', "line 3: unexpected end of data; is a quote not closed"),
        ("x.csv", 'image,question\na,"b" c\n', "line 2: .* is a quote not closed, or not doubled"),
        ("x.csv", '{"image": 1}\n', "this looks like JSON"),
        ("x.csv", b"PAR1\0\0", "this looks like Parquet: name it .parquet"),
        ("x.csv", b"PK\x03\x04", "this looks like an Excel workbook or a zip archive: save it as CSV UTF-8"),
        ("x.jsonl", b"\xd0\xcf\x11\xe0", "this looks like an Excel workbook"),
        ("x.csv", b"image,question\na,caf\xe9\n", r"not UTF-8 \(byte 0xe9\); save it as UTF-8"),
        ("x.json", '{"image": 1, "question": 2, "image": 3}', "the key 'image' is there twice"),
        ("x.jsonl", '{"a": 1}\n{"a": 1, "a": 2}', r"line 2: not JSON \(the key 'a' is there twice\)"),
        ("x.json", "[[1]]", "row 1: a list, not an object of columns"),
        ("x.json", "7", "a int, not a list of objects"),
        ("x.json", "[" * 100_000, "nested too deeply"),
        ("x.jsonl", '{"a": ' * 100_000, "nested too deeply"),
        ("x.parquet", "image,question\n", "cannot be read"),
        ("x.json.gz", "{}", r"truncated or damaged \(Not a gzipped file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=rf"{name}: .*{says}"):
        read_table(tmp_path / name)


def test_lines_end_as_on_any_system_and_in_cells(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "x.csv").write_bytes(end.join(["image,question", '"a","b', 'c"', "", " , ", "d,e"]).encode())
        table = read_table(tmp_path / "x.csv")
        assert [row["image"] for row in table.rows] == ["a", "d"]
        assert table.rows[0]["question"].splitlines() == ["b", "c"]


def test_a_cell_may_be_an_image_in_text(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text(f"image\tquestion\n{'A' * 300_000}\t?\n")
    assert len(read_table(tmp_path / "x.tsv").rows[0]["image"]) == 300_000
