"""The drawing of the pipeline is what its script makes of dvc.yaml, and follows a change of it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from paths import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import draw_pipeline

    return draw_pipeline


def pipeline() -> dict:
    return YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")


def test_the_committed_drawing_is_dvc_yamls(script) -> None:
    assert (ROOT / "docs/pipeline.svg").read_text(encoding="utf-8") == script.draw(pipeline()), "run `make dag`"


def test_every_stage_is_drawn_and_none_on_another(script) -> None:
    drawn = ElementTree.fromstring(script.draw(pipeline()))
    space = "{http://www.w3.org/2000/svg}"
    texts = {text.text for text in drawn.iter(f"{space}text")}
    assert pipeline()["stages"].keys() <= texts
    boxes = [(float(box.get("x")), float(box.get("y"))) for box in drawn.iter(f"{space}rect") if box.get("class") == ""]
    assert len(boxes) == len(pipeline()["stages"])
    for place, one in enumerate(boxes):
        for two in boxes[place + 1 :]:
            assert abs(one[0] - two[0]) >= script.WIDTH or abs(one[1] - two[1]) >= script.HEIGHT
    width, height = map(float, drawn.get("viewBox").split()[2:])
    assert all(0 <= x <= width - script.WIDTH and 0 <= y <= height - script.HEIGHT for x, y in boxes)


def test_a_stage_more_is_drawn_after_what_it_reads(script) -> None:
    changed = pipeline()
    changed["stages"]["weigh"] = {"cmd": "true", "deps": ["models/adapters"], "outs": ["reports/weights.json"]}
    needs = script._reduced(script._needs(changed["stages"]))
    assert needs["weigh"] == ["train"] and needs["compare"] == ["audit", "score"]
    assert re.search(r">weights\.json<", script.draw(changed))


def test_make_dag_writes_it(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "SVG", tmp_path / "pipeline.svg")
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    script.main()
    assert (tmp_path / "pipeline.svg").read_bytes() == (ROOT / "docs/pipeline.svg").read_bytes()
    assert "python docs/draw_pipeline.py" in (ROOT / "Makefile").read_text()
