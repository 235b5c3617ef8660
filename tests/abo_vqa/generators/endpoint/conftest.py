"""A project over a server that misbehaves as told."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML

from abo_vqa.common.params import Params, check_params
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.endpoint import source
from abo_vqa.generators.stage import COLUMNS
from faulty_server import FaultyServer, faulty_server
from paths import ROOT


def picture(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """Return a PNG whose pixels are its number."""
    with io.BytesIO() as file:
        Image.new("RGB", size, (number % 256, number // 256, 7)).save(file, "PNG")
        return file.getvalue()


def number_of(image: bytes) -> int:
    """Return the number of a picture, in any format that loses nothing."""
    low, high, _ = Image.open(io.BytesIO(image)).getpixel((0, 0))
    return low + 256 * high


def questions(image: bytes, body: Mapping[str, Any]) -> str:
    """Return five questions about an image, the same whenever asked."""
    number = number_of(image)
    entry = {"question": f"What is on image {number}?", "answer": "red", "distractors": ["blue", "green", "tan"]}
    yes = {"type": "existential", "question": "Is it there?", "answer": "yes"} | {
        "distractors": ["no", "maybe", "unclear"]
    }
    count = {"type": "counting", "question": "How many are there?", "answer": "3", "distractors": ["1", "2", "4"]}
    others = [{"type": kind} | entry for kind in ("attribute", "attribute", "comparison")]
    return json.dumps({"questions": [yes, *others[:2], count, others[2]]})


class Project:
    """Parameters, images and a server; `run` is the source without MLflow, whose metrics are in `logged`."""

    def __init__(self, folder: Path, server: FaultyServer, images: int) -> None:
        self.folder, self.server = folder, server
        self.values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
        self.settings = self.values["generate"]["endpoint"]
        self.settings |= {"base_url": server.url, "model": "tiny", "prompt": str(ROOT / self.settings["prompt"])}
        self.settings |= {"timeout_s": 5.0, "retries": 3, "in_flight": 4, "max_unanswered": 0.0}
        self.images = [picture(number) for number in range(images)]
        self.logged: dict[str, float | None] = {}
        self.report: dict[str, Any] = {}

    def params(self) -> Params:
        return check_params(self.values)

    def run(self, **settings: Any) -> list[RawOutput]:
        self.settings |= settings
        rows = [{"product_id": f"P{n}", "image_path": f"00/{n:08x}.png"} for n in range(len(self.images))]
        raw, self.report = source.generate(rows, self.images, self.params(), self.tracked)
        return raw

    def written(self, folder: Path) -> Path:
        """Write parameters and sample into a folder, in which the stage can run; return it."""
        self.values["generate"]["source"] = source.GENERATOR
        (folder / "tables").mkdir(parents=True)
        YAML().dump(self.values, folder / "params.yaml")
        texts = dict.fromkeys(COLUMNS) | {"bullets": [], "english": []}
        rows = [
            texts | {"product_id": f"P{n}", "image_id": f"I{n}", "image_path": f"00/{n:08x}.png"}
            | {"image": {"bytes": data, "path": None}}
            for n, data in enumerate(self.images)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), folder / "tables/sample.parquet")
        return folder

    @contextmanager
    def tracked(self, name: str, params: Params, tags: Mapping[str, str]) -> Iterator["Project"]:
        self.logged = {}
        yield self

    def log_metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        self.logged |= values

    def asked(self) -> list[int]:
        """Return how often each image was asked about."""
        return [self.server.asked[image] for image in self.images]

    def kept_bytes(self) -> bytes:
        """Return everything that was written under the project."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        running.write = questions
        yield running


@pytest.fixture
def project(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The client's pauses, which double, begin with half a second.
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.02)
    (tmp_path / "params.yaml").touch()  # marks the project's root
    return lambda images=6: Project(tmp_path, server, images)
