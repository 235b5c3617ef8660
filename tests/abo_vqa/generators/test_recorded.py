"""Recorded outputs: copied verbatim, counted to the last one, refused with the line's number."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from abo_vqa.catalog import stage as sample
from abo_vqa.common.errors import InputError
from abo_vqa.generators import stage as generate
from abo_vqa.generators.recorded import read_recorded, select_recorded
from abo_vqa.questions.parse import flatten
from small_archives import image_path

PRODUCTS = {image_path(number): f"B{number}@amazon.com" for number in range(10)}
FENCED = '```json\n{"questions": [{"type": "existential", ï»¿ broken \\ud800'


def lines_file(path: Path, images: list[str], output: str = FENCED) -> Path:
    text = "".join(json.dumps({"image": image, "split": "x", "output": output}) + "\n" for image in images)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_outputs_are_copied_verbatim_and_counted(tmp_path: Path, name: str):
    images = [image_path(3), "ff/unknown.jpg", image_path(1), image_path(3)]
    found = select_recorded(lines_file(tmp_path / name, images), PRODUCTS)
    assert [(raw.product_id, raw.image_path, raw.output, raw.seed) for raw in found.outputs] == [
        ("B1@amazon.com", image_path(1), FENCED, None),
        ("B3@amazon.com", image_path(3), FENCED, None),
    ]
    assert (found.read, found.repeated, found.unknown) == (4, 1, ["ff/unknown.jpg"])
    assert found.products_without == 8
    assert found.read == len(found.outputs) + len(found.unknown) + found.repeated


def test_no_match_at_all_is_an_error_that_names_an_example(tmp_path: Path):
    with pytest.raises(InputError, match=r"none of its 2 outputs is for a sampled image, such as ff/a\.jpg"):
        select_recorded(lines_file(tmp_path / "r.jsonl", ["ff/a.jpg", "ff/b.jpg"]), PRODUCTS)
    with pytest.raises(InputError, match="none of its 0 outputs"):
        select_recorded(lines_file(tmp_path / "r.jsonl", []), PRODUCTS)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not JSON"),
        (b"[1]", "a list, not an object"),
        (b'{"output": "x"}', "no string 'image'"),
        (b'{"image": "00/a.jpg"}', "no string 'output'"),
        (b'{"image": "00/a.jpg", "output": null}', "no string 'output'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, problem: str):
    path = lines_file(tmp_path / "r.jsonl", [image_path(1), image_path(2)])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match=rf"r\.jsonl, line 3: {problem}"):
        select_recorded(path, PRODUCTS)


def test_a_blank_line_is_no_output(tmp_path: Path):
    path = lines_file(tmp_path / "r.jsonl", [image_path(1), image_path(2)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n \r\n") + b"\n")
    assert select_recorded(path, PRODUCTS).read == 2
    path.write_bytes(b"\xff\xf0")
    with pytest.raises(InputError, match=r"r\.jsonl: cannot be read: not UTF-8 \(byte 0xff\)"):
        select_recorded(path, PRODUCTS)


def test_what_is_known_of_model_seed_and_prompt_is_kept(tmp_path: Path):
    known = {"image": image_path(1), "output": "x", "model": "m", "seed": 7, "prompt": "Write five questions."}
    path = tmp_path / "r.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in (known, known | {"image": image_path(2), "prompt": "Six."}))
    )
    first, second = select_recorded(path, PRODUCTS).outputs
    assert (first.model, first.seed) == ("m", 7)
    assert len(first.prompt or "") == 16 and first.prompt != second.prompt
    path.write_text(json.dumps(known | {"seed": "7"}) + "\n")
    with pytest.raises(InputError, match=r"line 1: 'seed' is not an integer"):
        select_recorded(path, PRODUCTS)


TABLE = (
    "question,image_id,option_a,option_b,option_c,option_d,correct_answer,path\n"
    f'"What, or\nwho?",x,Red,Blue,"A, B",Tan,C,{image_path(2)}\n'
    f"How many?,x,1,2,3,4,B,{image_path(1)}\n"
    f"What shape?,x,Round,Flat,Oval,Long,A,{image_path(2)}\n"
)


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_a_table_becomes_one_output_an_image(tmp_path: Path, name: str):
    path = tmp_path / name
    data = ("\ufeff" + TABLE).encode()
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = select_recorded(path, PRODUCTS)
    assert (found.read, len(found.outputs), found.unknown) == (2, 2, [])
    questions = flatten(found.outputs).questions
    assert [(q.image_path, q.question, q.answer, q.options) for q in questions] == [
        (image_path(1), "How many?", "B", ("A) 1", "B) 2", "C) 3", "D) 4")),
        (image_path(2), "What, or who?", "C", ("A) Red", "B) Blue", "C) A, B", "D) Tan")),
        (image_path(2), "What shape?", "A", ("A) Round", "B) Flat", "C) Oval", "D) Long")),
    ]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", ": no column for image, question, answer, options; it has none; the header must name"),
        ("image,answer\n", ": no column for question, options; it has image, answer; the header must name"),
        ("image,question,answer,option_a\n", ": no column for options; .*the header must name"),
        ("image,question,answer,a,b\n,x,y,z,w\n", ", row 1: no image; the header must name"),
        ('image,question,answer,a,b\nx,"y" z,1,2,3\n', ": cannot be read: line 2: .*a quote not closed"),
        ("image,question,answer,a,b\nx,\udcff,1,2,3\n", ": cannot be read: not UTF-8"),
        ("image,question,answer,a,b\nx,What, or?,1,2,3\n", ": cannot be read: line 2 has 6 fields, the header 5"),
        ("image,question,answer,a,b\nx,What?,1,2,3,\n", ": cannot be read: line 2 has 6 fields, the header 5"),
        ("image,question,answer,answer_index,a,b\nx,?,2,0,2,3\ny,?,2,1,2,3\n", ", row 2: the answer '2' is not the"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, table: str, problem: str):
    path = tmp_path / "r.csv"
    path.write_bytes(table.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"generate\.recorded: .*r\.csv{problem}"):
        select_recorded(path, PRODUCTS)


def test_missing_and_truncated_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"generate\.recorded: .*nowhere\.jsonl: not found"):
        select_recorded(tmp_path / "nowhere.jsonl", PRODUCTS)
    path = lines_file(tmp_path / "r.jsonl.gz", list(PRODUCTS) * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="truncated or damaged"):
        select_recorded(path, PRODUCTS)
    path.write_bytes(b"not gzip")
    with pytest.raises(InputError, match="truncated or damaged"):
        select_recorded(path, PRODUCTS)


def test_the_stage_counts_and_keeps_the_old_table_when_it_fails(workspace: Callable[..., Path]):
    folder = workspace(20, generate={"source": "recorded", "recorded": "r.jsonl"})
    sample.main()
    lines_file(folder / "r.jsonl", [image_path(4), "ff/unknown.jpg", image_path(5)])
    generate.main()
    report = json.loads(generate.REPORT.read_text())
    assert report["outputs_read"] == 3 and report["outputs"] == 2
    assert report["unknown_images"] == ["ff/unknown.jpg"] and report["products_without_output"] == 18
    before = generate.RAW.read_bytes()
    assert [json.loads(line)["output"] for line in before.splitlines()] == [FENCED] * 2
    lines_file(folder / "r.jsonl", ["ff/unknown.jpg"])
    with pytest.raises(InputError):
        generate.main()
    assert generate.RAW.read_bytes() == before


def test_a_letter_and_the_option_that_it_names_are_one_answer(tmp_path: Path) -> None:
    path = tmp_path / "both.csv"
    head = "image,question,correct_answer,final_answer,option_a,option_b\n"
    path.write_text(head + "a.jpg,What color is it?,B,blue,red,blue\n")
    [output] = read_recorded(path)
    assert json.loads(output.output)["questions"][0]["answer"] == "B", "a repair reads letters"
    path.write_text(head + "a.jpg,Which letter is it?,A,B,B,A\n")
    [output] = read_recorded(path)
    assert json.loads(output.output)["questions"][0]["answer"] == "A", "the letter; its text would be another"
    path.write_text(head + "a.jpg,What color is it?,A,blue,red,blue\n")
    with pytest.raises(InputError, match=r"row 1: the columns correct_answer .* and final_answer .* differ"):
        list(read_recorded(path))
