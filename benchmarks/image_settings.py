"""What `model.image` does to photographs: how much `crop` cuts off, `pad` adds and `resize` distorts.

    PYTHONPATH=src python benchmarks/image_settings.py [ARCHIVE] [--figure docs/image-settings.svg]

ARCHIVE: a tar of images, ABO's or the demo's. The figure shows three drawn products of the demo's archive, through the
processor that the model's stages use.
"""

import argparse
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.draws import derive_rng
from abo_vqa.model.families.llava import image_settings

DEMO = Path(__file__).parents[1] / "data/abo-images-small.tar"
SIDE, SHAPES = 112, ((256, 256), (256, 150), (110, 256))
SETTINGS = ("pad", "crop", "resize")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, nargs="?", default=DEMO)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    sizes = np.array(list(image_sizes(args.archive)))
    # The same share is cut off by crop, filled with bars by pad, and taken from the longer side by resize.
    share = pd.Series(1 - sizes.min(1) / sizes.max(1))
    quarters = share.quantile([0.25, 0.5, 0.75, 0.95])
    print(f"{len(share):,} images, {(share < 0.01).mean():.0%} of them square")
    print(f"outside the middle square: {share.mean():.0%} of an image on the mean; a quarter of the images, a half,")
    print(f"three quarters, 95 % have at most {', '.join(f'{value:.0%}' for value in quarters)}")
    if args.figure:
        draw(args.figure)


def image_sizes(archive: Path) -> Any:
    """Yield width and height of every image of a tar; only the headers are decoded."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.lower().endswith((".jpg", ".jpeg", ".png")):
                with Image.open(tar.extractfile(member)) as image:  # type: ignore[arg-type]
                    yield image.size


def draw(path: Path) -> None:
    """Draw three products as they are, and as the model sees them under each setting."""
    from abo_vqa.common.figures import figure

    with figure(path, 7.0, 5.2) as drawn:
        grid = drawn.subplots(len(SHAPES), 1 + len(SETTINGS))
        for place, (row, shape) in enumerate(zip(grid, SHAPES, strict=True)):
            rng = derive_rng(5, *shape)
            product = draw_scene(sample_scene(rng), rng, shape)
            seen = [processed(product, setting) for setting in SETTINGS]
            for axes, title, picture in zip(row, ("photograph", *SETTINGS), (product, *seen), strict=True):
                axes.imshow(picture)
                axes.set_title("" if place else title, fontsize=9)
                axes.axis("off")


def processed(image: Image.Image, setting: str) -> Any:
    """Return what the model gets, as pixels again."""
    processor = LlavaImageProcessorPil(**image_settings(setting, SIDE), do_normalize=False)
    return np.asarray(processor(image)["pixel_values"][0]).transpose(1, 2, 0).clip(0, 1)


if __name__ == "__main__":
    main()
