"""From listings to 12,000 sampled products at ABO's size, a tenth of it and ten times it.

    PYTHONPATH=src python benchmarks/catalog_scale.py [--keep FOLDER] [--scales 0.1 1 10] [--repeats 3]
    PYTHONPATH=src python benchmarks/catalog_scale.py --memory 150000 [--keep FOLDER]

Timed, in a fresh process each: reading both archives (all shards unpacked and parsed, the image table parsed, every
member of the image archive found), the pool, the draw, and reading the listings drawn, whole. Not timed: importing
Python modules, writing the sample, and decoding the images drawn, which costs the same whatever the catalog's size.

The floor of the listings: the same shards unpacked with isal, every line parsed with orjson and thrown away, by one
process and by as many as we use, which the ratios are of. The floor of both archives also unpacks the image table with
isal, parses it with pyarrow, and follows the image headers by their lengths, meanwhile. Neither floor sends anything
between processes, keeps or draws anything.

Seconds are wall time; processor seconds are summed over all processes and depend less on what else runs there. The best
of the repeats is shown, all by turns. Memory is the peak of all processes together, a page that they share counted once
(proportional set sizes, looked at ten times a second).

--memory measures memory alone, of that many listings and of ten times as many, and computes the need at 150 million.
Its listings have only the keys that a sample is drawn by: the other keys are never kept, and writing them takes long.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from catalog_text import IMAGE_ROWS, LISTINGS, write_catalog

PRODUCTS = 12_000
STEPS = ("read", "drawn")  # after which the clock is looked at
MB = 1e6
LARGE = 150_000_000  # listings whose memory is computed


def ours(folder: Path, told: dict[str, Any]) -> None:
    from abo_vqa.catalog.archives import read_catalog
    from abo_vqa.catalog.pool import candidates
    from abo_vqa.catalog.sampler import Sampler
    from abo_vqa.common.params import read_params

    params = read_params().sample.model_copy(update={"products": PRODUCTS})
    with measured(told):
        read, images = read_catalog(folder / "abo-listings.tar", folder / "abo-images-small.tar", params.stratum_text)
        told["read"] = time.perf_counter()
        pool, _ = candidates(read.listings, images)
        draw = Sampler(pool.facts, params, 1).draw(lambda _: True)
        told["drawn"] = time.perf_counter()
        products = read.listings.read(pool.rows[list(draw.stages)])
    assert len(products) == PRODUCTS and not read.malformed and not read.damaged


def listings_alone(folder: Path, told: dict[str, Any]) -> None:
    from abo_vqa.catalog.archives import read_listings

    with measured(told):
        read_listings(folder / "abo-listings.tar")


def listings_floor(folder: Path, told: dict[str, Any]) -> None:
    with measured(told):
        unpack_and_parse(folder, lambda: None)


def listings_floor_alone(folder: Path, told: dict[str, Any]) -> None:
    with measured(told):
        for place in shards(folder):
            parse_and_forget(place)


def floor(folder: Path, told: dict[str, Any]) -> None:
    import pyarrow.csv
    from isal import igzip

    def images() -> None:
        with (folder / "abo-images-small.tar").open("rb", buffering=0) as archive:
            position = 0
            table = None
            while (header := os.pread(archive.fileno(), 512, position))[0]:
                length = int(header[124:135], 8)
                table = table or os.pread(archive.fileno(), length, position + 512)
                position += 512 + -(-length // 512) * 512
        assert table is not None
        pyarrow.csv.read_csv(io.BytesIO(igzip.decompress(table)))

    with measured(told):
        unpack_and_parse(folder, images)


def unpack_and_parse(folder: Path, meanwhile: Callable[[], None]) -> None:
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        parsed = pool.map(parse_and_forget, shards(folder))
        meanwhile()
        list(parsed)


def shards(folder: Path) -> list[Any]:
    from abo_vqa.catalog.shard import Place
    from abo_vqa.catalog.tarball import members

    archive = folder / "abo-listings.tar"
    return [
        Place(archive, offset, length)
        for batch in members(archive)
        for name, _, offset, length in zip(*(column.tolist() for column in batch), strict=True)
        if name.endswith(b".gz")
    ]


def parse_and_forget(place: Any) -> None:
    import orjson

    from abo_vqa.catalog.shard import gzip_lines

    for line in gzip_lines(place):
        orjson.loads(line)


class measured:
    """Writes wall and processor seconds and the peak memory of this process and its children into a dictionary."""

    def __init__(self, told: dict[str, Any]):
        self._told = told

    def __enter__(self) -> None:
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        self._cpu, self._start = _cpu(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        told, now = self._told, time.perf_counter()
        told["cpu"], told["wall"] = _cpu() - self._cpu, now - self._start
        told |= {step: told[step] - self._start for step in STEPS if step in told}
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        process, self._told["peak"] = psutil.Process(), 0
        while not self._stop.wait(0.1):
            sizes = []
            for each in [process, *process.children(recursive=True)]:
                try:
                    sizes.append(each.memory_full_info().pss)
                except psutil.NoSuchProcess:
                    continue
            self._told["peak"] = max(self._told["peak"], sum(sizes))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


MEASURED: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "listings floor, one process": listings_floor_alone,
    "listings floor": listings_floor,
    "listings": listings_alone,
    "floor": floor,
    "ours": ours,
}


def best(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Return the least of each figure over the repeats, by what was measured."""
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURED}
    for _ in range(repeats):
        for name, least in found.items():
            for figure, value in measure(folder, name).items():
                least[figure] = min(value, least.get(figure, value))
    return found


def measure(folder: Path, name: str) -> dict[str, float]:
    """Measure once, in a fresh process."""
    command = [sys.executable, __file__, "--measure", name, "--keep", str(folder)]
    told: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    )
    return told


def report_memory(keep: Path, listings: int) -> None:
    """Print the peak at two sizes, their ratio, and the need at LARGE if it grows on as between the two."""
    peaks = []
    for count in (listings, 10 * listings):
        folder, images = keep / f"memory-{count}", round(count * IMAGE_ROWS / LISTINGS)
        if not (folder / "abo-images-small.tar").is_file():
            write_catalog(folder, count, images, brief=True)
        peaks.append(measure(folder, "ours")["peak"])
        print(f"{count:,} listings, {images:,} images: peak {peaks[-1] / MB:.0f} MB", flush=True)
    each = (peaks[1] - peaks[0]) / (9 * listings)
    print(
        f"ratio {peaks[1] / peaks[0]:.2f}; {each:.0f} bytes for each further listing and its images; "
        f"computed for {LARGE:,} listings: {(peaks[0] + each * (LARGE - listings)) / 1e9:.0f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder for the generated catalogs, used again if they are there")
    parser.add_argument("--scales", type=float, nargs="+", default=[0.1, 1, 10])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="LISTINGS", help="measure memory alone: this many, and 10 times")
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        import orjson  # noqa: F401  # these take seconds that are nobody's

        import abo_vqa.catalog.profile  # noqa: F401

        told: dict[str, Any] = {}
        MEASURED[args.measure](args.keep, told)
        print(json.dumps(told))
        return
    with tempfile.TemporaryDirectory() as temporary:
        if args.memory:
            report_memory(args.keep or Path(temporary), args.memory)
            return
        for scale in args.scales:
            report(scale, catalog(args.keep or Path(temporary), scale), args.repeats)


def catalog(keep: Path, scale: float) -> Path:
    """Return the folder of the catalog of that scale, generated if it is not there yet."""
    folder = keep / f"x{scale:g}"
    facts = folder / "facts.json"
    if not facts.is_file():
        print(f"generating {folder} ...", file=sys.stderr)
        facts.write_text(json.dumps(write_catalog(folder, round(LISTINGS * scale), round(IMAGE_ROWS * scale))))
    return folder


def report(scale: float, folder: Path, repeats: int) -> None:
    facts, listings = json.loads((folder / "facts.json").read_text()), round(LISTINGS * scale)
    found = best(folder, repeats)
    print(
        f"\n{scale:g}x: {listings:,} listings, {round(IMAGE_ROWS * scale):,} images, "
        f"{facts['packed'] / MB:.1f} MB packed, {facts['unpacked'] / MB:.0f} MB of JSON; {os.cpu_count()} processors"
    )
    print(
        "| | wall s | x listings' floor | x own floor | CPU s | x own floor "
        "| wall s / 100k | CPU s / 100k | peak MB | MB / 100k |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    labels = (
        "floor of the listings, one process",
        "floor of the listings",
        "listings alone",
        "floor of both archives",
        "to 12,000 products",
    )
    for (name, figures), label in zip(found.items(), labels, strict=True):
        bound = found["listings floor" if name.startswith("listings") else "floor"]
        wall, cpu, peak, per = figures["wall"], figures["cpu"], figures["peak"] / MB, 1e5 / listings
        ratios = [wall / found["listings floor"]["wall"], wall / bound["wall"]]
        cells = [wall, *ratios, cpu, cpu / bound["cpu"], wall * per, cpu * per]
        print(f"| {label} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {peak:.0f} | {peak * per:.0f} |")
    read, drawn, end = (found["ours"][step] for step in (*STEPS, "wall"))
    print(
        f"until both archives are read {read:.2f} s, until products are drawn {drawn:.2f} s, "
        f"until their listings are read {end:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
