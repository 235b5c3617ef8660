"""Writing questions on a Ray cluster: the batches of one machine, wherever memory runs out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import VlmParams
from abo_vqa.generators import vlm_remote
from abo_vqa.generators.vlm_remote import Contents, RemoteWriter, Writing
from abo_vqa.generators.vlm_writer import Output, Picture, generate_batches


class Pretended:
    """A cluster in this process whose workers have room for so many pictures; `started`: the tasks of each start."""

    gpus = False

    def __init__(self, room: Callable[[int], int]) -> None:
        self.room, self.started = room, []  # type: ignore[var-annotated]

    def results(self, open_worker: Any, identity: Any, tasks: Sequence[tuple[int, int]]) -> Iterator[Any]:
        self.started.append(list(tasks))
        for start, stop in tasks:
            fits = all(stop - start <= self.room(place) for place in range(start, stop))
            yield [Output(f"{place}", "{}", None) for place in range(start, stop)] if fits else None


@pytest.mark.parametrize("done", [0, 4])
def test_batches_are_those_of_one_machine_when_memory_runs_out(vlm: VlmParams, done: int) -> None:
    """Eight fit, from the 11th picture on only two, and the 14th not even alone."""

    def room(place: int) -> int:
        return 8 if place < 11 else 0 if place == 14 else 2

    def here(pictures: Sequence[Picture]) -> list[Output]:
        if any(len(pictures) > room(int(picture.path)) for picture in pictures):
            raise MemoryError
        return [Output(picture.path, "{}", None) for picture in pictures]

    pictures = [Picture(str(number), b"") for number in range(21)]
    contents: Contents = [("", "")] * len(pictures)
    cluster = Pretended(room)
    there = RemoteWriter(cluster, Writing(vlm, "", 0, Path(), contents), done)  # type: ignore[arg-type]
    found = list(generate_batches(there, pictures[done:], there.batch_size(pictures)))
    assert found == list(generate_batches(here, pictures[done:], 8))
    assert {len(batch.outputs) for batch in found} > {1, 2}
    assert len(cluster.started) == 4, "once for each size: 8, 4, 2, 1"


@pytest.fixture
def vlm(root: Path) -> VlmParams:
    values = YAML(typ="safe", pure=True).load(root / "params.yaml")["generate"]["vlm"]
    return VlmParams.model_validate(values | {"batch_size": 8})


def test_other_images_on_a_machine_are_refused(tmp_path: Path, vlm: VlmParams) -> None:
    pictures = [Picture(f"{number}.jpg", bytes([number])) for number in range(9)]
    rows = [{"image_path": picture.path, "image": {"bytes": picture.data, "path": None}} for picture in pictures]
    sample = tmp_path / "sample.parquet"
    pq.write_table(pa.Table.from_pylist(rows), sample, row_group_size=4)
    contents = [vlm_remote.content(picture) for picture in pictures]
    for start, stop in ((0, 9), (2, 5), (4, 8), (3, 9), (8, 9)):
        assert Writing(vlm, "", 0, sample, contents).pictures(start, stop) == pictures[start:stop]
    contents[5] = ("5.jpg", "another")
    with pytest.raises(InputError, match="other images"):
        Writing(vlm, "", 0, sample, contents).pictures(4, 8)
