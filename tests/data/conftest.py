"""A folder in which the four stages can run, and params.yaml with changed values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from small_archives import ROOT, images_tar, jpeg, listings_tar, record

from abo_vqa.common.params import Params, check_params


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """The project's params.yaml with changed values: make_params({"sample": {"products": 10}})."""

    def make(changes: dict[str, dict[str, Any]] | None = None) -> Params:
        values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
        for group, group_values in (changes or {}).items():
            values[group] |= group_values
        return check_params(values)

    return make


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make and enter a folder with params.yaml, expectations and a catalogue of `products` images."""

    def make(products: int = 60, **changes: dict[str, Any]) -> Path:
        monkeypatch.chdir(tmp_path)
        yaml = YAML()
        values = yaml.load(ROOT / "params.yaml")
        values["sample"]["products"] = products
        values["sample"]["amazonbasics_cap"] = 12000
        for group, group_values in changes.items():
            values[group] |= group_values
        yaml.dump(values, tmp_path / "params.yaml")
        (tmp_path / "expectations").mkdir(exist_ok=True)
        for suite in (ROOT / "expectations").glob("*.json"):
            (tmp_path / "expectations" / suite.name).write_bytes(suite.read_bytes())
        listings_tar(tmp_path / "data/abo-listings.tar", [record(number) for number in range(products)])
        images_tar(tmp_path / "data/abo-images-small.tar", {number: jpeg(number) for number in range(products)})
        return tmp_path

    return make
