"""Source `vlm` on a Ray cluster: workers write the batches that one machine would write, and in no other sizes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate.utils.memory import clear_device_cache

from abo_vqa.common.cluster import Cluster
from abo_vqa.common.digests import code_digest, digest, model_identity, package_versions
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import VlmParams
from abo_vqa.common.storage import read_rows
from abo_vqa.generators.vlm_writer import MEASURED, Output, Picture, QuestionWriter, unless_out_of_memory
from abo_vqa.model.base.loading import compute_dtype
from abo_vqa.model.base.memory import gpu_memory

Contents = Sequence[tuple[str, str]]  # path and SHA-256 of each image
# Outputs made with another version of one of these are not reused.
PACKAGES = ("torch", "transformers", "tokenizers", "bitsandbytes", "xgrammar", "pillow")
_Places = tuple[int, int]  # of the first picture of a batch in the sample, and of the one behind its last


@dataclass(frozen=True)
class Writing:
    """All that a machine needs to write outputs; contents: path and SHA-256 of every image of the sample."""

    vlm: VlmParams
    prompt: str
    seed: int
    sample: Path
    contents: Contents

    def identity(self) -> str:
        """Return the digest of everything that this machine's outputs depend on."""
        return inputs_digest(self.vlm, self.prompt, self.seed, self.contents)

    def open_worker(self) -> "_Writer":
        """Load the model."""
        return _Writer(self)

    def batch_size(self) -> int:
        """Return how many images a worker writes about at once; loads the model where that depends on its memory."""
        writer = QuestionWriter(self.vlm, self.prompt, self.seed)
        return writer.batch_size(self.pictures(0, min(MEASURED, len(self.contents))))

    def pictures(self, start: int, stop: int) -> list[Picture]:
        """Read images from this machine's sample; InputError if they are not those that were asked for."""
        rows = read_rows(self.sample, "sample", ["image_path", "image"], start, stop)
        pictures = [Picture(row["image_path"], row["image"]["bytes"]) for row in rows]
        if [content(picture) for picture in pictures] != list(self.contents[start:stop]):
            raise InputError(f"{self.sample}: other images than where the stage runs; give all machines the same")
        return pictures


def inputs_digest(vlm: VlmParams, prompt: str, seed: int, contents: Contents) -> str:
    """Return the digest of everything that this machine's outputs depend on.

    It includes vlm.batch_size, or the GPU's memory that decides it: the last bits of the scores depend on the batch's
    shape (see vlm_writer), so another size can draw other tokens.
    """
    model = model_identity(vlm.base, "generate.vlm.base")
    code = code_digest("abo_vqa.generators.vlm_writer")
    # `prompt` and `base` count by content, not by path.
    settings = vlm.model_dump(mode="json", exclude={"base", "prompt"})
    if vlm.batch_size == "auto":
        settings["batch_size"] = gpu_memory()
    settings["quantization"]["compute_dtype"] = str(compute_dtype(vlm.quantization))
    return digest([settings, prompt, seed, model, code, package_versions(PACKAGES), contents])


class _Writer:
    """A worker: its model, and the sample that it reads images from."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._write = QuestionWriter(writing.vlm, writing.prompt, writing.seed)

    def __call__(self, places: _Places) -> list[Output] | None:
        """Write about the pictures of a batch; None if they do not fit into memory."""
        outputs = unless_out_of_memory(self._write, self._writing.pictures(*places))
        if outputs is None:
            clear_device_cache(garbage_collection=True)
        return outputs


def content(picture: Picture) -> tuple[str, str]:
    """Return a picture's path and the SHA-256 of its file."""
    return picture.path, hashlib.sha256(picture.data).hexdigest()


class RemoteWriter:
    """Writes as QuestionWriter does; while one batch is read, workers are at the next, taken to be as large."""

    def __init__(self, cluster: Cluster, writing: Writing, done: int) -> None:
        """Take the number of pictures that are done."""
        self._cluster, self._writing, self._place = cluster, writing, done
        self._ahead: list[_Places] = []
        self._results: Iterator[list[Output] | None] = iter(())

    def batch_size(self, _: Sequence[Picture]) -> int:
        """Return how many images to write about at once."""
        setting = self._writing.vlm.batch_size
        return self._cluster.call(self._writing.batch_size) if setting == "auto" else setting

    def __call__(self, pictures: Sequence[Picture]) -> list[Output]:
        """Return the outputs of the batch behind the last one; MemoryError if it did not fit."""
        batch = self._place, self._place + len(pictures)
        if self._ahead[:1] != [batch]:
            # At the start, or after a batch did not fit: the sizes of all that follow change, as they would here.
            places = range(self._place, len(self._writing.contents), len(pictures))
            self._ahead = [(start, min(start + len(pictures), places.stop)) for start in places]
            tasks = list(self._ahead)  # read lazily
            self._results = self._cluster.results(self._writing.open_worker, self._writing.identity, tasks)
        outputs = next(self._results)
        if outputs is None and len(pictures) > 1:
            raise MemoryError
        del self._ahead[0]
        self._place = batch[1]
        if outputs is None:
            raise MemoryError
        return outputs
