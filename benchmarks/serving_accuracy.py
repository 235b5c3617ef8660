"""The demo's test questions asked over HTTP: accuracy by condition against the evaluation's, and requests a second.

    abo-vqa serve &
    PYTHONPATH=src python benchmarks/serving_accuracy.py --url http://127.0.0.1:5001 --model options-2

Run it in a project that `dvc repro` has run in. One question a request, as a user asks; --together asks all questions
of an image in one.
"""

import argparse
import base64
import json
import time
import urllib.request
from itertools import groupby
from typing import Any

import pandas as pd

from abo_vqa.common.layout import PREDICTIONS, read_image_bytes, read_questions
from abo_vqa.metrics.answers import exact_match


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:5001")
    parser.add_argument("--model", default="options-2", help="the training run whose version is served")
    parser.add_argument("--together", action="store_true", help="all questions of an image in one request")
    args = parser.parse_args()
    rows = sorted(read_questions("test"), key=lambda row: (row["image_id"], row["qa_id"]))
    images = {
        name: base64.b64encode(data).decode() for name, data in read_image_bytes(r["image_id"] for r in rows).items()
    }
    table = pd.read_parquet(PREDICTIONS / f"{args.model}.parquet")
    for condition in ("open", "options"):
        requests = [
            [
                {"image": images[row["image_id"]], "question": row["question"],
                 "options": list(row["options"]) if condition == "options" else None}
                for row in group
            ]
            for group in grouped(rows, args.together)
        ]  # fmt: skip
        started = time.perf_counter()
        said = [one for request in requests for one in ask(args.url, request)]
        seconds = time.perf_counter() - started
        pairs = list(zip(said, rows, strict=True))
        right = sum(exact_match(one["answer"], row["answer"]) for one, row in pairs)
        before = table[table["condition"] == condition].set_index("qa_id")
        differing = sum(one["answer"] != before["generated"][row["qa_id"]][0] for one, row in pairs)
        evaluated = before["correct"].mean()
        print(
            f"{condition}: {said[0]['model_version']} {right}/{len(rows)} = {100 * right / len(rows):.2f} % over HTTP, "
            f"{100 * evaluated:.2f} % in the evaluation, {differing} answers differ; "
            f"{len(requests) / seconds:.1f} requests/s, {len(rows) / seconds:.1f} questions/s"
        )


def grouped(rows: list[dict[str, Any]], together: bool) -> list[list[dict[str, Any]]]:
    if not together:
        return [[row] for row in rows]
    return [list(group) for _, group in groupby(rows, key=lambda row: row["image_id"])]


def ask(url: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = json.dumps({"dataframe_records": rows}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
    return predictions


if __name__ == "__main__":
    main()
