"""A served model under load: 200 requests at once, hostile images beside an innocent request, and a body of 200 MB.

    abo-vqa serve &
    python benchmarks/serving_load.py --url http://127.0.0.1:5001 --pid $!

Prints how many answers came, the median and the 99th percentile of their seconds, and the server's memory before and
after the large body (Linux; --pid is the server's process).
"""

import argparse
import base64
import io
import json
import statistics
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

OPTIONS = ["red", "blue", "green", "black"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:5001")
    parser.add_argument("--pid", type=int, help="the server's process, to measure its memory")
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args()
    url = f"{args.url}/invocations"
    row = {"image": picture((256, 256)), "question": "What color is it?", "options": OPTIONS}
    ask(url, row)
    started = time.perf_counter()
    rows = [row | {"question": f"What color is number {number}?"} for number in range(args.requests)]
    with ThreadPoolExecutor(args.requests) as threads:
        found = list(threads.map(lambda one: ask(url, one), rows))
    seconds = sorted(took for _, took in found)
    answered = sum(status == 200 for status, _ in found)
    print(
        f"{args.requests} requests at once: {answered} answered, {args.requests - answered} lost, "
        f"{args.requests / (time.perf_counter() - started):.1f} requests/s; seconds: median "
        f"{statistics.median(seconds):.2f}, p99 {seconds[int(0.99 * (len(seconds) - 1))]:.2f}"
    )
    beside(url, row, "24 PNGs of 7,000 x 7,000 in one request", [[row | {"image": one} for one in pictures(24)]])
    beside(url, row, "24 requests with one such PNG each", [[row | {"image": one}] for one in pictures(24)])
    before = memory(args.pid)
    status, took = send(url, b"[" * 200_000_000)
    print(f"a body of 200 MB: status {status} after {took:.2f} s; memory {before}, then {memory(args.pid)}")


def beside(url: str, row: dict[str, Any], name: str, hostile: list[list[dict[str, Any]]]) -> None:
    """Print how an innocent request fares beside hostile ones."""
    with ThreadPoolExecutor(len(hostile)) as threads:
        others = [threads.submit(send, url, json.dumps({"dataframe_records": rows}).encode()) for rows in hostile]
        time.sleep(0.5)
        status, took = ask(url, row)
        statuses = [one.result()[0] for one in others]
    counted = ", ".join(f"{statuses.count(one)} x {one}" for one in sorted(set(statuses)))
    print(f"beside {name} ({counted}): status {status} after {took:.2f} s")


def picture(size: tuple[int, int], behind: int = 0) -> str:
    """Return a PNG as base64 text; behind: bytes after its end, which make it another file at no cost."""
    return base64.b64encode(png(size) + bytes(behind)).decode()


@cache
def png(size: tuple[int, int]) -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", size, (200, 30, 30)).save(file, "PNG", compress_level=1)
        return file.getvalue()


def pictures(count: int) -> list[str]:
    """Different ones: the same image is decoded once in a request."""
    return [picture((7000, 7000), number) for number in range(count)]


def ask(url: str, row: dict[str, Any]) -> tuple[int, float]:
    return send(url, json.dumps({"dataframe_records": [row]}).encode())


def send(url: str, body: bytes) -> tuple[int, float]:
    """Return status (0: no answer) and seconds."""
    started = time.perf_counter()
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError:
        status = 0
    return status, time.perf_counter() - started


def memory(pid: int | None) -> str:
    """Return a process's memory and the most that it had."""
    if pid is None:
        return "unknown"
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now:,.0f} MiB (at most {most:,.0f})"


if __name__ == "__main__":
    main()
