"""Files that a killed DVC leaves cut off, mended where no DVC works in the project any more.

DVC writes `.dvc/tmp/rwlock` and `dvc.lock` in place. Killed meanwhile, it cannot read them again. A lock of a process
id that another program has by now would be waited for until that program ends.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import git
from abo_vqa.common.storage import replacing

LOCK, STATE = Path("dvc.lock"), Path(".dvc/tmp")
ELSEWHERE = Path(".dvc/tmp/exps")  # DVC's temporary experiments, each with a state of its own


def running_dvc(root: Path) -> list[int]:
    """Return the process ids of DVC in a project's folder or below."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        folder = Path(process.info["cwd"] or "/")
        here = folder.is_relative_to(root) and not folder.is_relative_to(root / ELSEWHERE)
        if here and any(Path(part).name == "dvc" for part in process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def mend(root: Path) -> list[str]:
    """Mend DVC's files in the project `root`; return a line about each that was.

    Raises InputError if one is damaged while DVC works there.
    """
    done = []
    if (lock := root / LOCK).is_file() and _entries(_text(lock)) is None:
        _nobody_at(root, LOCK)
        done.append(_mend_lock(root, lock))
    if (held := root / STATE / "rwlock").is_file():
        with _guarded(root):
            done += _mend_held(root, held)
    if dvc_setting(root, "hardlink_lock") and not running_dvc(root):
        # Unlike the system's locks, which are gone with their process, these are files that stay.
        for left in [root / STATE / "lock", *(root / STATE).glob("*.lock")]:
            if left.is_file():
                left.unlink()
                done.append(f"{left.relative_to(root)}: removed; the DVC that made it has ended")
    return done


def dvc_setting(root: Path, name: str) -> bool:
    """Return whether DVC's configuration sets a switch of its section core."""
    from configparser import ConfigParser
    from configparser import Error as ConfigError

    config = ConfigParser(strict=False)
    with suppress(ConfigError):
        config.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    return config.get("core", name, fallback="false").lower() == "true"


def _may_be_dvc(pid: int, root: Path) -> bool:
    try:
        process = psutil.Process(pid)
        called = any(Path(part).name == "dvc" for part in process.cmdline())
        return called or Path(process.cwd()).is_relative_to(root)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")  # the cut may go through a character


def _nobody_at(root: Path, file: Path) -> None:
    if running := running_dvc(root):
        raise InputError(
            f"{file}: damaged, and DVC still works here (process {', '.join(map(str, running))}); wait for it "
            "to end, or end it, and run `abo-vqa doctor`"
        )


def _entries(text: str) -> dict[str, Any] | None:
    """Return the stages of a dvc.lock; None where DVC could not read it."""
    # Imported here: they take a part of a second, and there may be no dvc.lock.
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML, YAMLError
    from voluptuous import Invalid

    try:
        return COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text)).get("stages", {})
    except (YAMLError, Invalid, ValueError, TypeError, AttributeError):
        return None


def _mend_lock(root: Path, lock: Path) -> str:
    """Write the stages before the cut, and those of the last commit for the others, which the run cache completes."""
    from dvc.utils.serialize import dump_yaml

    lines = _text(lock).splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("  ") and line[2:3] not in ("", " ", "-")]
    tries = ("\n".join(lines[:start]) for start in reversed(starts))
    saved = next((found for text in tries if (found := _entries(text))), {})
    committed = _entries(git("show", f"HEAD:./{LOCK}", folder=root) or "") or {}
    with replacing(lock) as temporary:
        dump_yaml(temporary, {"schema": "2.0", "stages": committed | saved})
    return (
        f"{LOCK}: DVC was ended while it wrote it; {len(saved)} stages kept, "
        f"{len(committed.keys() - saved.keys())} taken from the last commit; run `dvc repro` to complete them"
    )


def _mend_held(root: Path, held: Path) -> list[str]:
    try:
        entries = json.loads(held.read_text(encoding="utf-8"))
        readers = [(path, one) for path, found in entries.get("read", {}).items() for one in found]
        writers = list(entries.get("write", {}).items())
        running = {int(entry["pid"]): entry["cmd"] for _, entry in readers + writers}
    except (ValueError, AttributeError, KeyError, TypeError):
        _nobody_at(root, STATE / held.name)
        held.unlink()
        return [f"{STATE / held.name}: removed; DVC was ended while it wrote it"]
    gone = {pid for pid in running if not _may_be_dvc(pid, root)}
    if not gone:
        return []
    left = {path: [one for one in found if one["pid"] not in gone] for path, found in entries.get("read", {}).items()}
    entries["read"] = {path: found for path, found in left.items() if found}
    entries["write"] = {path: entry for path, entry in writers if entry["pid"] not in gone}
    with replacing(held) as temporary:
        temporary.write_text(json.dumps(entries), encoding="utf-8")
    return [f"{STATE / held.name}: locks of ended processes removed ({', '.join(map(str, sorted(gone)))})"]


@contextmanager
def _guarded(root: Path) -> Iterator[None]:
    """Keep DVC from editing its rwlock meanwhile; InputError if it does so now."""
    from dvc.lock import LockError, make_lock

    folder = root / STATE
    lock = make_lock(str(folder / "rwlock.lock"), tmp_dir=str(folder), hardlink_lock=dvc_setting(root, "hardlink_lock"))
    try:
        lock.lock()
    except LockError:
        raise InputError(f"{STATE}: DVC changes its locks right now; try again") from None
    try:
        yield
    finally:
        lock.unlock()
