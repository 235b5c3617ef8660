"""Write predictions as a table that a person opens or `abo-vqa compare` reads."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from abo_vqa.metrics.bertscore import BertScorer

RESCALED = "bertscore_f1_baseline"  # F1 of the answers as written, by bert-score's own baseline
ENDINGS = (".csv", ".parquet")


def check_path(option: str, path: Path | None, endings: Sequence[str] = ENDINGS) -> None:
    """Raise InputError if a file of the option could not be written: another ending, no folder, or a folder itself."""
    if path is None:
        return
    if endings and path.suffix not in endings:
        raise InputError(f"{option} {path}: must end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: the folder {path.parent} does not exist; create it")
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; give a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{option} {path}: may not be written")


def check_distinct(files: Mapping[str, Path | None]) -> None:
    """Raise InputError if two of these are one file: what is there would be overwritten."""
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise InputError(f"{option} {path}: is the file of {other}, too; give another one")


def write_table(path: Path, table: "pd.DataFrame", as_csv: bool) -> None:
    """Write a table, atomically; in CSV lists are JSON, and a missing value is an empty cell."""
    from abo_vqa.common.storage import replacing

    try:
        with replacing(path) as temporary:
            if as_csv:
                table.map(_cell).to_csv(temporary, index=False)
            else:
                table.to_parquet(temporary, index=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value


def prediction_rows(
    rows: Sequence[Mapping[str, Any]], answers: "pd.DataFrame", scored: "pd.DataFrame"
) -> list[dict[str, Any]]:
    """Return a row per answer of one model.

    rows: the questions; answers: as ask_all returns them; scored: the same by score_answers, with the column model.
    generated_answer: the answer, or the different ones, separated by " | ", if the order of the options changes it.
    tolerant_match: whether each of them matches, as commands.tolerant_match. log_probabilities: of each option, in
    their order, the mean over the orders asked.
    """
    from abo_vqa.commands.tolerant_match import tolerant_match

    by_id = {row["qa_id"]: row for row in rows}
    keys = zip(answers["condition"], answers["qa_id"], strict=True)
    kept = dict(zip(keys, answers["log_probabilities"], strict=True))
    found = []
    for row in scored.to_dict("records"):
        options = list(row["options"])
        orders = kept[row["condition"], row["qa_id"]]
        found.append(
            {
                "model": row["model"],
                "condition": row["condition"],
                "question_id": row["qa_id"],
                "image": row["image_id"],
                "question_type": row["question_type"],
                "question": by_id[row["qa_id"]]["question"],
                "options": options or None,
                "answer": row["answer"],
                "generated_answer": " | ".join(dict.fromkeys(row["generated"])),
                "correct": row["correct"],
                "tolerant_match": all(tolerant_match(said, row["answer"], options) for said in row["generated"]),
                "log_probabilities": [sum(each) / len(orders) for each in zip(*orders, strict=True)] or None,
            }
        )
    return found


def rescaled_column(scored: "pd.DataFrame", scorer: "BertScorer") -> dict[str, list[float]]:
    """Return the column RESCALED, the mean over a question's orders; no column if bert-score has no baseline."""
    import numpy as np

    said = [text for generated in scored["generated"] for text in generated]
    counts = scored["generated"].map(len)
    scores = scorer.score_rescaled(said, np.repeat(scored["answer"], counts).tolist())
    if scores is None:
        return {}
    return {RESCALED: [float(part.mean()) for part in np.split(scores, np.cumsum(counts)[:-1])]}
