"""Coverage and false positives of the intervals and tests in abo_vqa.statistics, in experiments whose truth is known.

    PYTHONPATH=src python benchmarks/simulation.py [--experiments 2000] [--seed 0]

Prints Markdown tables; figures in per cent, aimed at 95 for coverage and 5 for false positives. A standard error at
2,000 experiments is 0.5.
"""

import argparse
from collections.abc import Iterator

from experiments import Small, Training, family_rates, small_rates, training_rates

from abo_vqa.statistics.display import markdown_table

EFFECT = 0.04


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    number, seed = args.experiments, args.seed
    print(f"## Two ways of training, 160 images of 5 questions, {number:,} experiments\n")
    heads = ["seed deviation, points", "replicates", "coverage", "false positives", "width, points"]
    heads += ["images only: coverage", "images only: false positives"]
    print(markdown_table(heads, list(training(number, seed))))
    print("\nThe same where images have no effect on the difference (single answers and seeds alone):\n")
    print(markdown_table(heads, list(training(number, seed, image_effect=0.0, settled=0.0))))
    print("\nThe same where images have large effects and single answers change little:\n")
    print(markdown_table(heads, list(training(number, seed, image_effect=0.6, settled=0.6, seed_image_effect=0.1))))
    print("\n## No difference, 200 images of which 60 look alike\n")
    design = Training(replicates=1, seed_deviation=0.0, images=200, family=60, image_effect=0.6)
    found = family_rates(design, number, seed).covered
    rows = [[method, f"{100 * (1 - found[method]):.1f}"] for method in ("group", "image")]
    print(markdown_table(["clusters", "false positives"], rows))
    print("\n## Few images of 5 questions: coverage (mean width, points)\n")
    heads = ["mean of", "truth", "correlation", "images", "t", "percentile bootstrap"]
    print(markdown_table(heads, list(small(number, seed))))


def training(number: int, seed: int, **design: float) -> Iterator[list[str]]:
    for deviation in (0.0, 0.02, 0.05):
        for replicates in (3, 5, 10):
            shown, null = (
                training_rates(Training(replicates, deviation, effect, **design), number, seed + place)
                for place, effect in enumerate((EFFECT, 0.0))
            )
            rates = [
                figure
                for method in ("images and seeds", "images")
                for figure in (100 * shown.covered[method], 100 * (1 - null.covered[method]))
            ]
            cells = [f"{100 * deviation:.0f}", str(replicates), f"{rates[0]:.1f}", f"{rates[1]:.1f}"]
            yield [*cells, f"{100 * shown.width['images and seeds']:.1f}", f"{rates[2]:.1f}", f"{rates[3]:.1f}"]


def small(number: int, seed: int) -> Iterator[list[str]]:
    kinds = [{"accuracy": 0.6}, {"accuracy": 0.9}, {"accuracy": 0.96}]
    kinds += [{"differing": 0.3}, {"differing": 0.3, "effect": 0.1}, {"differing": 0.05, "effect": 0.03}]
    for kind in kinds:
        for correlation in (0.2, 0.5):
            for images in (5, 10, 20, 40, 150):
                design = Small(images, correlation, **kind)
                found = small_rates(design, number, seed)
                what = f"differences ({100 * design.differing:.0f} % not 0)" if design.differing else "accuracies"
                cells = [
                    f"{100 * found.covered[method]:.1f} ({100 * found.width[method]:.0f})"
                    for method in ("t", "bootstrap")
                ]
                yield [what, f"{100 * design.truth:.0f}", str(correlation), str(images), *cells]


if __name__ == "__main__":
    main()
