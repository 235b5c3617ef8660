"""Fixtures of several test modules, a quiet offline environment, and one Hypothesis profile.

Whatever imports torch, MLflow or the demo is imported inside the fixtures, so that collecting the tests stays fast.
"""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from paths import ROOT, SUPPORT
from project import FADING, clone_project, commit, copy_project, experiment, run, scale

if TYPE_CHECKING:
    from abo_vqa.common.params import Params

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# More test processes than cores: more threads each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine must not fail a test: no example has a time limit.
hypothesis.settings.register_profile("abo-vqa", deadline=None)
hypothesis.settings.load_profile("abo-vqa")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes do not name a test: gzip writes the time into them, and two processes must collect the same names."""
    return argname if isinstance(val, bytes) else None


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs from all tests unless those marked gpu are asked for: `pytest -m gpu`."""
    if not _wants_gpu(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked gpu unless they are asked for; the longest come first, so that no process idles."""
    # Most of tests/pipeline waits for a run that it shares, which test_cold_start.py makes; the next are for meanwhile.
    first = "real_images cold_start resume benchmarks vlm served_model".split()
    items.sort(
        key=lambda item: (
            first.index(name) if (name := item.path.stem.removeprefix("test_")) in first else len(first),
            "pipeline" not in item.path.parts,
        )
    )
    if not _wants_gpu(config):
        left_out = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a process the tests of a file, or of a page of docs/: its blocks are run one after the other."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileAndPage(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.rpartition("-")[0] if ".md-" in nodeid else super()._split_scope(nodeid)

    return ByFileAndPage(config, log)


def _wants_gpu(config: pytest.Config) -> bool:
    return "gpu" in config.getoption("markexpr").replace("not gpu", "")


@pytest.fixture(scope="module", autouse=True)
def quick_garbage_collection() -> Iterator[None]:
    """Spare the collector what earlier modules imported: statsmodels runs it at every adjustment of p values."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture
def make_params() -> "Callable[..., Params]":
    """The project's params.yaml with changed values: make_params({"sample": {"products": 10}})."""
    from abo_vqa.common.params import check_params

    def make(changes: dict[str, dict[str, Any]] | None = None) -> "Params":
        values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
        for group, group_values in (changes or {}).items():
            values[group] |= group_values
        return check_params(values)

    return make


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make and enter a folder with params.yaml, expectations and a catalog of `products` images."""
    from small_archives import images_tar, jpeg, listings_tar, record

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


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained LLaVA-Gemma in the published file layout."""
    import torch

    from abo_demo.base_model import build_model, build_processor, train_tokenizer

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["What color is it? Options: red, blue. Answer with just one word."] * 9)
    build_processor(tokenizer).save_pretrained(folder)
    build_model(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_next(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained LLaVA-NeXT in the published file layout."""
    from abo_demo.llava_next import save_llava_next

    return save_llava_next(tmp_path_factory.mktemp("next"), spread=0.05)


@pytest.fixture
def tiny_params(tiny_base: Path) -> "Params":
    """The committed parameters over the tiny base, with small batches."""
    from abo_vqa.common.params import check_params

    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = str(tiny_base)
    values["train"] |= {"batch_size": 4, "accumulation": 2, "log_steps": 1, "save_steps": 100}
    return check_params(values)


@pytest.fixture(scope="session")
def images() -> dict[str, bytes]:
    """Eight drawn products as JPEG files."""
    from drawn import draw_images

    return draw_images()


@pytest.fixture(scope="session")
def rows(images: dict[str, bytes]) -> list[dict[str, Any]]:
    """Two questions about each of the drawn products."""
    from drawn import draw_rows

    return draw_rows(images)


@pytest.fixture(scope="session")
def repro_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which `dvc repro` has run once on small.yaml, its results committed; its output is in printed.log.

    Copy it (project.copy_project) rather than change it.
    """

    def make(folder: Path) -> str:
        clone_project(ROOT, folder)
        scale(folder, SUPPORT / "small.yaml")
        said = run("dvc repro", folder)
        commit(folder, "results")
        return said

    return _made_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def queued_once(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of repro_once in which DVC's queue has run the experiment `fading`; its log is in printed.log. Copy it."""

    def make(folder: Path) -> str:
        copy_project(repro_once, folder)
        run(f"dvc exp run --queue --name fading {FADING}", folder)
        run("dvc queue start", folder)
        # The queue says "Success" before the experiment's commit has reached this repository: wait for the commit.
        while not experiment(folder, "fading"):
            assert "Failed" not in run("dvc queue status", folder), run("dvc queue logs fading", folder)
            time.sleep(2)
        said = run("dvc queue logs fading", folder)
        run("dvc queue remove --all", folder)
        return said

    return _made_once(tmp_path_factory, "queued", make)


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> Path:
    """Return a folder that one of the test processes makes for all of them; what `make` returns is in printed.log."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    folder, printed = shared / name / "abo-vqa", shared / name / "printed.log"
    with FileLock(shared / f"{name}.lock"):
        if not printed.is_file():
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.parent.mkdir()
            printed.write_text(make(folder))
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of an mlflow.db without experiments of ours."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").search_experiments()
    return (folder / "mlflow.db").read_bytes()
