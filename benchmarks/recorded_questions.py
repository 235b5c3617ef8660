"""What becomes of recorded outputs: read, repaired, quarantined by reason, clean; all of it accounted for.

    python benchmarks/recorded_questions.py ../shared/abo/qa/llava_v1.6_mistral_7b_raw.jsonl.gz
    python benchmarks/recorded_questions.py ../shared/abo/qa/four_option_letters.csv

No image is needed: an image path stands for its product; of two outputs for one the first counts.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abo_vqa.common.params import read_params
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators.recorded import read_recorded
from abo_vqa.questions.validate import check_clean, curate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="recorded outputs, as generate.recorded takes them")
    arguments = parser.parse_args()
    params = read_params()
    outputs = first_of_each(arguments.file)
    started = time.process_time()
    curated = curate(outputs, params.validate_, params.seed)
    spent = time.process_time() - started
    check_clean(curated.clean, params.validate_)
    show(curated.report)
    print(f"every one of the {len(curated.clean):,} clean questions passes {params.validate_.suite}")
    print(f"{spent:.1f} s of one core, importing Great Expectations included")


def first_of_each(path: Path) -> list[RawOutput]:
    """Return the first output for every image, and print how many are left out."""
    outputs: dict[str, RawOutput] = {}
    read = 0
    for output in read_recorded(path):
        read += 1
        outputs.setdefault(output.image_path, output)
    if read > len(outputs):
        print(f"{read - len(outputs):,} of {read:,} outputs are for an image that has one already")
    return list(outputs.values())


def show(report: Mapping[str, Any]) -> None:
    """Print the accounting, with the shares of clean and repaired questions."""
    outputs, questions = report["outputs"], report["questions"]
    yielding = outputs["with_questions"] / outputs["read"]
    print(
        f"outputs     {outputs['read']:>7,} = {outputs['with_questions']:,} with questions ({yielding:.2%}) + ", end=""
    )
    print(f"{outputs['unparsable']:,} unparsable; read as {_listed(outputs['read_as'])}")
    clean = questions["clean"] / max(questions["read"], 1)
    print(f"questions   {questions['read']:>7,} = {questions['clean']:,} clean ({clean:.2%}) + ", end="")
    print(f"{questions['quarantined']:,} quarantined: {_listed(report['quarantined_by_reason'])}")
    print(f"clean by type       {_listed(report['clean_by_type'])}")
    print(f"repairs of clean    {_listed(report['repairs'])}")
    for when, found in report["composition"].items():
        share = "-" if found["share"] is None else f"{found['share']:.2%}"
        print(f"images with 1-2-1-1 {when}: {found['1-2-1-1']:,} of {found['images']:,} ({share})")


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"


if __name__ == "__main__":
    main()
