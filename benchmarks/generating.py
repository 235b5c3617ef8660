"""What the schema costs and buys: questions a second, and the share of outputs that are valid, with it and without.

    PYTHONPATH=src python benchmarks/generating.py
    PYTHONPATH=src python benchmarks/generating.py --base llava-hf/llava-v1.6-mistral-7b-hf --4bit --dtype float16 \
        --prompt src/abo_vqa/generators/question_prompt.txt --longest-question 120 --longest-word 16 \
        --max-new-tokens 500
"""

import argparse
import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tqdm import tqdm

from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.draws import derive_rng
from abo_vqa.common.params import check_params
from abo_vqa.common.params.data import VlmParams
from abo_vqa.generators.vlm_writer import Picture, QuestionWriter, generate_batches
from abo_vqa.questions.parse import parse_output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="models/demo")
    parser.add_argument("--prompt", type=Path, help="a file; without it, a short prompt")
    parser.add_argument("--4bit", dest="quantized", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--longest-question", type=int, default=40)
    parser.add_argument("--longest-word", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=500)
    arguments = parser.parse_args()
    prompt = arguments.prompt.read_text().strip() if arguments.prompt else "Write five questions as JSON."
    pictures = [draw(number) for number in range(arguments.images)]
    print("| constrained | valid | with a question | questions/s | in the model | tokens an output | failures |")
    print("| --- | --: | --: | --: | --: | --: | --- |")
    for constrained in (True, False):
        print(measure(params(arguments, constrained), prompt, pictures, arguments.batch_size))


def params(arguments: argparse.Namespace, constrained: bool) -> VlmParams:
    values = YAML(typ="safe", pure=True).load(Path("params.yaml"))
    vlm = values["generate"]["vlm"]
    vlm |= {"base": arguments.base, "constrained": constrained, "max_new_tokens": arguments.max_new_tokens}
    vlm |= {"longest_question": arguments.longest_question, "longest_word": arguments.longest_word}
    vlm["quantization"] |= {"load_in_4bit": arguments.quantized, "compute_dtype": arguments.dtype}
    return check_params(values).generate.vlm


def draw(number: int) -> Picture:
    rng = derive_rng(4, number)
    with io.BytesIO() as file:
        draw_scene(sample_scene(rng), rng, (256, 192)).save(file, "JPEG")
        return Picture(f"{number}.jpg", file.getvalue())


def measure(vlm: VlmParams, prompt: str, pictures: list[Picture], batch_size: int) -> str:
    """Return one row of the table."""
    writer = QuestionWriter(vlm, prompt, seed=1)
    forward = Stopwatch(writer._model.forward)
    writer._model.forward = forward
    writer(pictures[:1])  # what is done but once
    forward.seconds = 0.0
    started = time.perf_counter()
    outputs = []
    for batch in tqdm(generate_batches(writer, pictures, batch_size), total=-(-len(pictures) // batch_size)):
        outputs += batch.outputs
    seconds = time.perf_counter() - started
    questions = [len(parse_output(output.text or "")) for output in outputs]
    tokenizer = writer._processor.tokenizer
    tokens = sum(len(tokenizer.encode(output.text or "", add_special_tokens=False)) for output in outputs)
    cells = [
        str(vlm.constrained).lower(),
        f"{sum(output.failure is None for output in outputs) / len(outputs):.1%}",
        f"{sum(count > 0 for count in questions) / len(outputs):.1%}",
        f"{sum(questions) / seconds:.2f}",
        f"{forward.seconds / seconds:.0%}",
        f"{tokens / len(outputs):.0f}",
        ", ".join(f"{kind} {count}" for kind, count in Counter(o.failure for o in outputs if o.failure).items()),
    ]
    return f"| {' | '.join(cells)} |"


class Stopwatch:
    """Sums up the time spent in a function; on a GPU, the time to queue its work."""

    def __init__(self, function: Any) -> None:
        self.function, self.seconds = function, 0.0
        self.__wrapped__ = function  # generate looks at the signature

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return self.function(*inputs, **named)
        finally:
            self.seconds += time.perf_counter() - started


if __name__ == "__main__":
    main()
