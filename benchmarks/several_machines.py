"""What ABO's 147,702 images take on several cards, computed by the functions of `abo-vqa plan`.

    PYTHONPATH=src:benchmarks python benchmarks/several_machines.py [--cards 1 8 64]

Models of the published geometry, of which only the configurations are made: LLaVA-v1.6-Mistral-7B writes the questions,
LLaVA-Gemma-2B answers those of the test split under params.yaml's conditions. Both divide by image, so the time is that
of one card divided by the cards. Loading a model is not counted.
"""

import argparse
import tempfile
from pathlib import Path

from geometry import GEOMETRIES, _config

from abo_demo.llava_next import PUBLISHED, _tokenizer
from abo_demo.llava_next import _config as next_config
from abo_vqa.common.params import Params, read_params
from abo_vqa.planning.cards import card
from abo_vqa.planning.plan import plan
from abo_vqa.planning.work import work_of

IMAGES = 147_702
SHOWN = ("T4", "A100", "H100")


def parameters(folder: Path) -> Params:
    """Return the committed parameters at ABO's size, with configurations of the published geometry in a folder."""
    assert "llava-gemma-2b" in GEOMETRIES
    _config("llava-gemma-2b", 336).save_pretrained(folder / "answers")
    next_config(_tokenizer(), PUBLISHED).save_pretrained(folder / "writes")
    params = read_params()
    vlm = params.generate.vlm.model_copy(update={"base": str(folder / "writes")})
    return params.model_copy(
        update={
            "sample": params.sample.model_copy(update={"products": IMAGES}),
            "generate": params.generate.model_copy(update={"source": "vlm", "vlm": vlm}),
            "model": params.model.model_copy(update={"base": str(folder / "answers")}),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, nargs="+", default=[1, 8, 64])
    cards = parser.parse_args().cards
    print(f"| card | stage | {' | '.join(f'{number}' for number in cards)} |\n|---|---|{'--:|' * len(cards)}")
    with tempfile.TemporaryDirectory() as folder:
        params = parameters(Path(folder))
        for name in SHOWN:
            steps = {step.stage: step for step in plan(params, work_of(params, {}), card(name)).steps}
            for stage in ("generate", "evaluate"):
                hours = steps[stage].seconds / 3600
                print(
                    f"| {name} | {stage} | {' | '.join(f'{hours / number:.1f} h' for number in cards)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
