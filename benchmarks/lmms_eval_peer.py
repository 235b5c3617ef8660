"""The demo's test questions through lmms-eval and through `abo-vqa evaluate`: the same answers, and the time of each.

    PYTHONPATH=src python benchmarks/lmms_eval_peer.py PYTHON [--questions 808] [--conditions open options]

PYTHON: the interpreter of an environment with lmms-eval (pip install lmms-eval decord; where torch is the CPU build,
pip uninstall torchvision, which exists for CUDA only and then breaks every import). Both are whole commands, from start
to printed table, on the same model in float32 without an adapter. lmms-eval generates one prompt at a time (its
llava_hf takes no larger batch); ours generates, and ranks the options and scores BERTScore besides. Wants what `dvc
repro` made: tables/splits/test.parquet and tables/sample.parquet.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent

import pandas as pd
from train_throughput import machine

from abo_vqa.common.layout import read_image_bytes, read_questions
from abo_vqa.common.params.model import BASE, PAPER_PROMPT
from abo_vqa.metrics.answers import exact_match

NEW = 8
TASK = """
    task: abo_vqa
    dataset_path: parquet
    dataset_kwargs: {{data_files: {{test: {prompts}}}}}
    test_split: test
    output_type: generate_until
    doc_to_visual: !function utils.visual
    doc_to_text: text
    doc_to_target: answer
    process_results: !function utils.results
    generation_kwargs: {{max_new_tokens: {new}, temperature: 0, do_sample: false}}
    metric_list: [{{metric: exact, aggregation: mean, higher_is_better: true}}]
"""
UTILS = """
    from PIL import Image

    def visual(doc):
        return [Image.open(doc["image"]).convert("RGB")]

    def results(doc, said):
        return {"exact": float(said[0].strip() == doc["answer"])}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--conditions", nargs="+", choices=["open", "options"], default=["open", "options"])
    parser.add_argument("--base", default="models/demo")
    args = parser.parse_args()
    rows = read_questions("test")[: args.questions]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for image_id, content in read_image_bytes(row["image_id"] for row in rows).items():
            (folder / f"{image_id}.jpg").write_bytes(content)
        peer, peer_seconds = through_lmms_eval(args, rows, folder)
        ours, our_seconds = through_ours(args, rows, folder)
    both = peer.merge(ours, on=["qa_id", "condition"], validate="one_to_one")
    assert len(both) == len(rows) * len(args.conditions)
    print(f"{machine()}\n\n{len(rows)} questions, {len(both)} prompts, {args.base}, float32\n")
    print("| | seconds, whole command | prompts/s |" + "".join(f" {c}, % right |" for c in args.conditions))
    print("|---|--:|--:|" + "--:|" * len(args.conditions))
    for name, seconds, column in (("lmms-eval", peer_seconds, "peer"), ("ours", our_seconds, "ours")):
        right = both.assign(right=[exact_match(*pair) for pair in zip(both[column], both["answer"], strict=True)])
        shares = 100 * right.groupby("condition")["right"].mean()
        cells = "".join(f" {shares[condition]:.2f} |" for condition in args.conditions)
        print(f"| {name} | {seconds:.1f} | {len(both) / seconds:.1f} |{cells}")
    same = (both["peer"].str.strip() == both["ours"].str.strip()).sum()
    print(f"\nratio {peer_seconds / our_seconds:.1f}; {same} of {len(both)} answers the same")


def through_lmms_eval(args: argparse.Namespace, rows: list[dict], folder: Path) -> tuple[pd.DataFrame, float]:
    """Return qa_id, condition, answer and what lmms-eval's model said, and the seconds of the command."""
    prompts = [
        {
            "qa_id": row["qa_id"],
            "condition": condition,
            "image": str(folder / f"{row['image_id']}.jpg"),
            "text": PAPER_PROMPT.text(row["question"], list(row["options"]) if condition == "options" else None),
            "answer": row["answer"],
        }
        for condition in args.conditions
        for row in rows
    ]
    task = folder / "task"
    task.mkdir()
    pd.DataFrame(prompts).to_parquet(folder / "prompts.parquet", index=False)
    (task / "abo_vqa.yaml").write_text(dedent(TASK).format(prompts=folder / "prompts.parquet", new=NEW))
    (task / "utils.py").write_text(dedent(UTILS))
    model = f"pretrained={args.base},device=cpu,device_map=cpu,dtype=float32"
    command = f"{args.python} -m lmms_eval --model llava_hf --force_simple --model_args {model} --tasks abo_vqa"
    command += f" --include_path {task} --batch_size 1 --log_samples --output_path {folder / 'out'}"
    seconds = timed(command.split(), os.environ | {"HF_HOME": str(folder / "hf"), "PYTHONPATH": ""})
    [samples] = (folder / "out").rglob("*samples_abo_vqa*.jsonl")
    said = [json.loads(line) for line in samples.read_text().splitlines()]
    # A list of one answer, or the answer itself, by version.
    answers = {sample["doc_id"]: sample["filtered_resps"] for sample in said}
    texts = [answers[place] if isinstance(answers[place], str) else answers[place][0] for place in range(len(prompts))]
    return pd.DataFrame(prompts)[["qa_id", "condition", "answer"]].assign(peer=texts), seconds


def through_ours(args: argparse.Namespace, rows: list[dict], folder: Path) -> tuple[pd.DataFrame, float]:
    """Return qa_id, condition and what our model said, and the seconds of the command."""
    asked = [
        {"question_id": row["qa_id"], "image": f"{row['image_id']}.jpg", **{k: row[k] for k in ("question", "answer")}}
        | {"options": list(row["options"]), "type": row["question_type"]}
        for row in rows
    ]
    path, output = folder / "questions.jsonl", folder / "ours.parquet"
    pd.DataFrame(asked).to_json(path, orient="records", lines=True)
    command = f"{sys.executable} -m abo_vqa.commands.app evaluate {path} --images {folder} --base {args.base} --no-4bit"
    command += f" --max-new-tokens {NEW} --output {output} --conditions"
    # Vision features of an earlier run would be found again.
    fresh = os.environ | {"DVC_ROOT": str(folder), "PYTHONPATH": "src"}
    seconds = timed([*command.split(), *args.conditions], fresh)
    found = pd.read_parquet(output)
    found = found[found["model"] == BASE]
    return found.assign(ours=found["generated"].str[0])[["qa_id", "condition", "ours"]], seconds


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Run the command and return its seconds; its output is shown if it fails."""
    started = time.perf_counter()
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    if outcome.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {outcome.returncode}\n{(outcome.stdout + outcome.stderr)[-4000:]}")
    return seconds


if __name__ == "__main__":
    main()
