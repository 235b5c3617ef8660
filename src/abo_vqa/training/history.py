"""The training curve, and the checkpoint that an interrupted training resumes from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from abo_vqa.common.layout import ACCURACY, PRE_CLIP, SKIPPED

Row = dict[str, float]
# Files of a checkpoint: the Trainer's state, and the SHA-256 of each of the others.
STATE, FILES = "trainer_state.json", "files.json"


def curve(log_history: Sequence[Row]) -> list[Row]:
    """Return one row per optimizer step, with the validation accuracy where it was measured."""
    rows = {int(row["step"]): dict(row) for row in log_history if PRE_CLIP in row}
    for row in log_history:
        if ACCURACY in row:
            rows[int(row["step"])] |= row
    # Rows restored from a checkpoint come back with their keys sorted.
    return [{key: rows[step][key] for key in sorted(rows[step], key=_column)} for step in sorted(rows)]


def applied(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the optimizer steps that changed the adapter, without those that a loss scaler skipped."""
    return [row for row in rows if PRE_CLIP in row and not row.get(SKIPPED)]


def _column(name: str) -> tuple[int, str]:
    leading = ("step", "loss", "learning_rate")
    return (leading.index(name) if name in leading else len(leading), name)


def last_checkpoint(scratch: Path) -> Path | None:
    """Return the newest complete checkpoint, None if there is none."""
    # Imported here: the import takes seconds, and reading curves does not need it.
    from transformers.trainer_utils import sort_checkpoints

    whole = (Path(folder) for folder in reversed(sort_checkpoints(str(scratch)) if scratch.is_dir() else []))
    return next((folder for folder in whole if _is_whole(folder)), None)


def history(checkpoint: Path) -> list[Row]:
    """Return the rows recorded up to a checkpoint."""
    rows = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["log_history"]
    return [row for row in rows if PRE_CLIP in row or ACCURACY in row]


def list_files(checkpoint: Path) -> None:
    """Write the SHA-256 of every file of a checkpoint into it, before the Trainer writes its state."""
    names = [path.name for path in checkpoint.iterdir() if path.name not in (STATE, FILES)]
    (checkpoint / FILES).write_text(json.dumps(_digests(checkpoint, names)), encoding="utf-8")


def _is_whole(checkpoint: Path) -> bool:
    # The Trainer writes the state last. After a crash of the machine any file may be cut off.
    try:
        listed = json.loads((checkpoint / FILES).read_text(encoding="utf-8"))
        history(checkpoint)
        return bool(listed == _digests(checkpoint, listed))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with (folder / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
