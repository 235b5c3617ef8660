"""The checks of `abo-vqa doctor`."""

import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil
from filelock import FileLock, Timeout

from abo_vqa.commands.dvc_state import LOCK, dvc_setting, mend, running_dvc
from abo_vqa.common.lifetime import LOCKS
from abo_vqa.common.params import read_params
from abo_vqa.common.project import git
from abo_vqa.model.base.devices import installed_gpus, visible_gpus

OLDEST = (3, 11)
GIB = 2**30
# The demo's outputs, cache and store take about 0.3 GiB, one training of it 1 GiB of memory.
LEAST_DISK, LEAST_MEMORY = 2 * GIB, 2 * GIB
SERVER_SECONDS = 5
REQUIREMENTS = "requirements.lock"


class Finding(NamedTuple):
    """What a check found. verdict: ok, note, mended or wrong. mend: the command or the step that mends it."""

    verdict: str
    text: str
    mend: str = ""


def python(root: Path) -> list[Finding]:
    """Check Python's version and the installed packages against requirements.lock."""
    found = f"Python {platform.python_version()}"
    if sys.version_info < OLDEST:
        return [Finding("wrong", f"{found}; 3.11 or newer is needed", "make repro PYTHON=python3.11")]
    lock = root / REQUIREMENTS
    pins = (
        re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE) if lock.is_file() else []
    )
    others = [f"{name} {has or 'missing'} (not {pin})" for name, pin in pins if (has := _installed(name)) != pin]
    if not others:
        return [Finding("ok", f"{found}, {len(pins)} packages as in {REQUIREMENTS}")]
    named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return [
        Finding("note", f"{found}; other packages than in {REQUIREMENTS}: {named}", f"pip install -r {REQUIREMENTS}")
    ]


def _installed(name: str) -> str | None:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def disk(root: Path) -> list[Finding]:
    """Check free space, and that the folders that stages write can be written."""
    free = shutil.disk_usage(root).free
    found = [
        Finding("ok", f"{free / GIB:.1f} GiB free")
        if free >= LEAST_DISK
        else Finding(
            "wrong", f"{free / GIB:.1f} GiB free, the demo needs 2", "dvc gc --workspace, or make room elsewhere"
        )
    ]
    for folder in (root, root / ".dvc", root / "tables", root / "reports", root / "models"):
        try:
            if folder.is_dir():
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            place = folder.relative_to(root)
            found.append(Finding("wrong", f"{place}: cannot be written ({error.strerror})", f"chmod -R u+w {place}"))
    return found


def memory(root: Path) -> list[Finding]:
    """Check the memory that is available."""
    available = psutil.virtual_memory().available
    text = f"{available / GIB:.1f} GiB available"
    if available >= LEAST_MEMORY:
        return [Finding("ok", text)]
    return [
        Finding("wrong", f"{text}, a training of the demo needs up to 2", "end other programs; abo-vqa repro --jobs 1")
    ]


def cuda(root: Path) -> list[Finding]:
    """Check that PyTorch can use the GPUs that there are."""
    if not installed_gpus():
        return [Finding("ok", "no NVIDIA GPU: everything is computed on the CPU")]
    if not visible_gpus():
        return [Finding("note", "CUDA_VISIBLE_DEVICES hides all GPUs", "unset CUDA_VISIBLE_DEVICES")]
    import torch  # slow, and only needed with a GPU

    names = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in installed_gpus())
    if torch.cuda.is_available():
        return [Finding("ok", names)]
    return [
        Finding(
            "wrong",
            f"{names}: PyTorch {torch.__version__} cannot use it",
            "update the driver, or install the build of PyTorch that fits it",
        )
    ]


def locks(root: Path) -> list[Finding]:
    """Mend what a killed DVC left; list DVC processes and stages at work."""
    found = [Finding("mended", line) for line in mend(root)]
    if running := running_dvc(root):
        found.append(Finding("note", f"DVC works here: process {', '.join(map(str, running))}"))
    for path in sorted((root / LOCKS).glob("*.lock")):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
            lock.release()
        except Timeout:
            owner = path.read_text(encoding="ascii").strip()
            found.append(Finding("note", f"{path.stem} runs: process {owner}"))
    return found or [Finding("ok", "no DVC and no stage at work, nothing left of a killed one")]


def repository(root: Path) -> list[Finding]:
    """Check that DVC has the Git repository that it needs."""
    if git("rev-parse", "--git-dir", folder=root) is not None:
        return [Finding("ok", f"at commit {(git('rev-parse', '--short', 'HEAD', folder=root) or 'none').strip()}")]
    if any((folder / ".git").exists() for folder in (root, *root.parents)):
        if shutil.which("git") is None:
            return [Finding("note", "git is not installed: runs name no commit", "install git")]
        # DVC runs stages all the same, as in a container that root runs in a mounted folder.
        text = "Git refuses this repository, mostly because another user owns it: runs name no commit, experiments fail"
        return [Finding("note", text, f"git config --global --add safe.directory '{root}'")]
    if dvc_setting(root, "no_scm"):
        return [Finding("note", "no Git repository; core.no_scm is set, so DVC works without experiments")]
    return [Finding("wrong", "no Git repository here, and DVC needs one", "git init, or dvc config core.no_scm true")]


def parameters(root: Path) -> list[Finding]:
    """Check params.yaml; the InputError names what is wrong."""
    return [Finding("ok", f"params.yaml is valid: {', '.join(read_params().models())}")]


def store(root: Path) -> list[Finding]:
    """Check the MLflow store that runs go to."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith(("http://", "https://")):
        return [_server(uri)]
    file = root / "mlflow.db"
    if uri and uri != f"sqlite:///{file}":
        return [Finding("note", "MLFLOW_TRACKING_URI names another store, which is not checked")]
    if not file.exists():
        return [Finding("ok", "no mlflow.db yet; the first run makes it")]
    if not os.access(file, os.W_OK):
        return [Finding("wrong", "mlflow.db cannot be written", "chmod u+w mlflow.db")]
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=SERVER_SECONDS)) as opened:
            [state] = opened.execute("PRAGMA quick_check(1)").fetchone()
            [runs] = opened.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    except sqlite3.Error as error:
        state, runs = str(error), 0
    if state != "ok":
        return [Finding("wrong", f"mlflow.db is damaged ({state})", "move it away; the next run makes a new one")]
    return [Finding("ok", f"mlflow.db, {runs} runs not ended" if runs else "mlflow.db, all runs ended")]


def _server(uri: str) -> Finding:
    import requests
    from urllib3.util import parse_url

    shown = parse_url(uri)._replace(auth=None).url  # without a password
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=SERVER_SECONDS).raise_for_status()
    except requests.RequestException as error:
        reason = type(error).__name__
        return Finding(
            "wrong", f"the server {shown} does not answer ({reason})", "unset MLFLOW_TRACKING_URI, or start it"
        )
    return Finding("ok", f"the server {shown} answers")


def cache(root: Path) -> list[Finding]:
    """Check that DVC's cache has every output of dvc.lock, in its size."""
    if not (root / LOCK).is_file():
        return [Finding("ok", "no dvc.lock yet")]
    missing, cut = [], []
    outputs = list(_outputs(root / LOCK))
    for path, md5, size in outputs:
        stored = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        if not stored.is_file():
            missing.append(path)
        elif not md5.endswith(".dir") and size is not None and stored.stat().st_size != size:
            cut.append(stored.relative_to(root))
    if cut:
        named = " ".join(map(str, cut[:5]))
        return [Finding("wrong", f"{len(cut)} files of the cache are cut off", f"rm -f {named}, then dvc repro")]
    if missing:
        text = f"{len(missing)} of {len(outputs)} outputs are not in the cache, such as {missing[0]}"
        return [Finding("note", text, "dvc repro makes them, dvc pull fetches them from a remote")]
    return [Finding("ok", f"all {len(outputs)} outputs of dvc.lock are in the cache")]


def _outputs(lock: Path) -> Iterator[tuple[str, str, int | None]]:
    from ruamel.yaml import YAML

    for stage in (YAML(typ="safe").load(lock) or {}).get("stages", {}).values():
        for out in stage.get("outs", []):
            # Plots and metrics that Git keeps are not in the cache.
            if "md5" in out and not out["path"].startswith("reports/plots/"):
                yield out["path"], out["md5"], out.get("size")


# In the order in which they are printed.
CHECKS: dict[str, Callable[[Path], list[Finding]]] = {
    "python": python,
    "disk": disk,
    "memory": memory,
    "cuda": cuda,
    "git": repository,
    "locks": locks,
    "params": parameters,
    "store": store,
    "cache": cache,
}
