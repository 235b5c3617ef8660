"""Draw docs/contact-sheet.png, the demo at a glance: `python -m abo_demo.contact_sheet`."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw

from abo_vqa.catalog.archives import read_listings
from abo_vqa.catalog.images import ImageArchive, image_problem
from abo_vqa.catalog.listing import Listing
from abo_vqa.common.draws import derive_rng

COLUMNS, ROWS = 12, 8
_THUMBNAIL = 92  # pixels
_LINE = 11  # pixels of one line of the label


def contact_sheet(data: Path, seed: int) -> Image.Image:
    """Return thumbnails of random listings of the catalog in the folder data, as a palette image.

    Shows as many product types as fit, with each listing's facts under its thumbnail. Raises InputError without a
    catalog.
    """
    read = read_listings(data / "abo-listings.tar")
    with ImageArchive(data / "abo-images-small.tar") as images:
        every = list(read.listings)
        found = images.find(read.listings.column("image")).tolist()
        places = {listing.image_id: place for listing, place in zip(every, found, strict=True)}
        listings = [listing for listing, image in zip(every, found, strict=True) if image >= 0]
        derive_rng(seed, "contact sheet").shuffle(listings)
        chosen = _varied(listings)
        step = _THUMBNAIL + 2 * _LINE
        sheet = Image.new("RGB", (COLUMNS * _THUMBNAIL, ROWS * step), "white")
        pen = ImageDraw.Draw(sheet)
        place = 0
        for listing in chosen:
            data_bytes = images.read_at(places[listing.image_id])
            if image_problem(data_bytes) is not None or place == COLUMNS * ROWS:
                continue
            x, y = place % COLUMNS * _THUMBNAIL, place // COLUMNS * step
            thumbnail = Image.open(io.BytesIO(data_bytes))
            thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
            sheet.paste(thumbnail, (x + (_THUMBNAIL - thumbnail.width) // 2, y))
            for line, text in enumerate(_label(listing)):
                pen.text((x + 2, y + _THUMBNAIL + line * _LINE - 1), text[:20], fill="black", font_size=8)
            place += 1
    return sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)


def _varied(listings: list[Listing]) -> list[Listing]:
    """Return the first listing of every product type, then all others, in their order."""
    seen: set[str] = set()
    first: list[Listing] = []
    later: list[Listing] = []
    for listing in listings:
        (later if listing.product_type in seen else first).append(listing)
        seen.add(listing.product_type)
    return first + later


def _label(listing: Listing) -> tuple[str, str]:
    """Return two short lines: the product type, and the stated color and material."""
    stated = [fact for fact in (listing.color, listing.material) if fact and fact.isascii()]
    return listing.product_type.replace("_", " ").lower(), ", ".join(stated)


def main() -> None:
    """Write the contact sheet."""
    parser = argparse.ArgumentParser(description="Show the demo catalog at a glance.")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("docs/contact-sheet.png"))
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(args.data, args.seed).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
