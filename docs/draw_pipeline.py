"""Draw docs/pipeline.svg from dvc.yaml: `make dag`, or `python docs/draw_pipeline.py`."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
SVG = ROOT / "docs/pipeline.svg"
WIDTH, HEIGHT, GAP, ROW = 118, 50, 24, 88  # of a box, between two boxes, between two rows
MARGIN = 12
STYLE = """
  rect { fill: #f4f6f8; stroke: #5b6675; } .several { fill: #fff; } .input { fill: #fff; stroke-dasharray: 4 3; }
  path { fill: none; stroke: #5b6675; stroke-width: 1.4; marker-end: url(#end); }
  text { font: 15px system-ui, sans-serif; text-anchor: middle; fill: #1c2430; }
  .out { font-size: 12px; fill: #5b6675; }
"""


def draw(pipeline: Mapping[str, Any]) -> str:
    """Return the drawing of a parsed dvc.yaml: a box per stage with its first output, an arrow per dependency.

    Arrows that follow from others are left out. A stage with a matrix is a pile of boxes.
    """
    stages: Mapping[str, Any] = pipeline["stages"]
    needs = _reduced(_needs(stages))
    inputs = {"data": [name for name, stage in stages.items() if "data" in _names(stage.get("deps", []))][:1]}
    layers = _layers(needs)
    # In a row of its own where a stage precedes the one that reads it.
    first = min(layers[name] for name in inputs["data"])
    places = {"data": (MARGIN + max(first - 1, 0) * (WIDTH + GAP), -ROW * min(first, 1))}
    before = 1 if first == 0 else 0
    tallest = max(Counter(layers.values()).values())
    for layer in range(max(layers.values()) + 1):
        names = [name for name in stages if layers[name] == layer]
        # Arrows that pass over a layer keep to the outer rows.
        names.sort(key=lambda name: _reach(name, needs, layers))
        names = names[1::2][::-1] + names[::2]
        for row, name in enumerate(names):
            places[name] = (MARGIN + (layer + before) * (WIDTH + GAP), (row - (len(names) - 1) / 2) * ROW)
    middle = (tallest - 1) / 2 * ROW + MARGIN + HEIGHT / 2 + 6
    places = {name: (x, y + middle) for name, (x, y) in places.items()}
    arrows = [(one, name) for name, earlier in needs.items() for one in earlier]
    arrows += [(name, later) for name, of in inputs.items() for later in of]
    width = max(x for x, _ in places.values()) + WIDTH + MARGIN + 6
    parts = [_arrow(places[one], places[two]) for one, two in arrows]
    parts += [_box(name, places[name], stages.get(name)) for name in places]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {2 * middle:g}" role="img" '
        f'aria-label="The stages of dvc.yaml and what they need">\n<style>{STYLE}</style>\n'
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill: #5b6675; stroke: none; marker-end: none"/></marker></defs>\n'
        f'<rect width="100%" height="100%" style="fill: #fff; stroke: none"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _names(entries: Sequence[Any]) -> Iterator[str]:
    """Return the paths of deps or outs, each a path or {path: settings}; a template's values are *."""
    for entry in entries:
        yield re.sub(r"\$\{[^}]*\}", "*", next(iter(entry)) if isinstance(entry, Mapping) else entry)


def _made(stage: Mapping[str, Any]) -> list[str]:
    return [name for kind in ("outs", "metrics", "plots") for name in _names(stage.get(kind, []))]


def _needs(stages: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for every stage those that make what it reads: the same path, or one inside the other."""

    def inside(one: str, two: str) -> bool:
        return f"{one}/".startswith(f"{two}/") or f"{two}/".startswith(f"{one}/")

    return {
        name: [
            other
            for other in stages
            if other != name
            and any(inside(made, read) for made in _made(stages[other]) for read in _names(stage.get("deps", [])))
        ]
        for name, stage in stages.items()
    }


def _reduced(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the dependencies that do not follow from others."""

    def before(name: str) -> set[str]:
        return set(needs[name]).union(*map(before, needs[name]))

    return {
        name: [one for one in earlier if not any(one in before(other) for other in earlier)]
        for name, earlier in needs.items()
    }


def _layers(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in [*needs] * len(needs):
        found[name] = max((found.get(one, 0) + 1 for one in needs[name]), default=0)
    return found


def _reach(name: str, needs: Mapping[str, Sequence[str]], layers: Mapping[str, int]) -> int:
    """Return the number of layers that the stage's longest arrow spans."""
    return max((layers[later] - layers[name] for later, earlier in needs.items() if name in earlier), default=0)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = (start[0] + WIDTH, start[1]), end
    bend = x2 - GAP
    return f'<path d="M{x1:g} {y1:g} H{bend:g} C{x2 - 8:g} {y1:g} {bend + 8:g} {y2:g} {x2:g} {y2:g}"/>'


def _box(name: str, place: tuple[float, float], stage: Mapping[str, Any] | None) -> str:
    x, y = place
    size = f'width="{WIDTH}" height="{HEIGHT}" rx="6"'
    top = y - HEIGHT / 2
    if stage is None:
        kind, under = "input", "archives"
    else:
        kind, under = "", _short(_made(stage)[0])
    boxes = f'<rect x="{x:g}" y="{top:g}" {size} class="{kind}"/>'
    if stage and "matrix" in stage:
        behind = "".join(f'<rect x="{x + d:g}" y="{top - d:g}" {size} class="several"/>' for d in (6, 3))
        boxes = behind + boxes
    texts = f'<text x="{x + WIDTH / 2:g}" y="{y - 3:g}">{escape(name)}</text>'
    texts += f'<text class="out" x="{x + WIDTH / 2:g}" y="{y + 15:g}">{escape(under)}</text>'
    if stage and "matrix" in stage:
        each = " × ".join(stage["matrix"])
        texts += f'<text class="out" x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 14:g}">{escape(each)}</text>'
    return boxes + texts


def _short(path: str) -> str:
    """Return a path's last part without a template."""
    parts = [part for part in path.split("/") if "*" not in part]
    return parts[-1]


def main() -> None:
    """Write the drawing."""
    pipeline = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")
    SVG.write_text(draw(pipeline), encoding="utf-8")
    print(SVG.relative_to(ROOT))


if __name__ == "__main__":
    main()
