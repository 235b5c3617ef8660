"""Imports run one way: no circle, no arrow against the order of the rooms, and paths and MLflow for the stages only."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import networkx
import pytest

from abo_vqa.common.digests import code_of, imports, module_file

# A room imports from its own level and those before it. The demo may import everything, and nothing imports the demo.
ORDER = [
    {"common"},
    {"statistics"},
    {"catalog"},
    {"model", "parameters"},
    {"generators", "questions"},
    {"splits", "audit"},
    {"training", "inference"},
    {"metrics"},
    {"comparison"},
    {"serving"},
    {"report", "planning", "export"},
    {"commands"},
    {"abo_demo"},
    {"abo_server"},
]
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
TRACKING, LAYOUT = "abo_vqa.common.tracking", "abo_vqa.common.layout"
# Beside modules named stage.py.
STAGE_LIKE = {"commands", "serving", "export", "common"}


def room_of(module: str) -> str:
    """Return the folder of src/abo_vqa that a module lies in, or abo_demo; "" for abo_vqa's own __init__.py."""
    package, _, rest = module.partition(".")
    return package if package in ("abo_demo", "abo_server") else rest.partition(".")[0]


def modules(src: Path) -> list[str]:
    """Return the dotted names of all modules, a package's name for its __init__.py."""
    paths = (path.relative_to(src).with_suffix("") for path in sorted(src.rglob("*.py")))
    return [".".join(path.parent.parts if path.name == "__init__" else path.parts) for path in paths]


@cache
def imported_names(src: Path, module: str) -> frozenset[tuple[str, str]]:
    """Return the pairs (module, name) that a module imports from src; the name is "" for a whole module."""
    path = module_file(module, src)
    assert path is not None, module
    found = set()
    for origin, name in imports(code_of(path), module, path.name == "__init__.py"):
        whole = f"{origin}.{name}"
        found.add((whole, "") if name and module_file(whole, src) else (origin, name))
    return frozenset((origin, name) for origin, name in found if module_file(origin, src))


def imported(src: Path, module: str) -> set[str]:
    return {origin for origin, _ in imported_names(src, module)}


def arrows(src: Path) -> dict[str, set[str]]:
    """Return what each module imports, itself left out."""
    return {module: imported(src, module) - {module} for module in modules(src)}


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other."""
    graph = networkx.DiGraph([(source, target) for source, targets in edges.items() for target in targets])
    return sorted(sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1)


def circles_of_modules(src: Path) -> list[list[str]]:
    return circles(arrows(src))


def circles_of_rooms(src: Path) -> list[str]:
    """Return each circle of rooms with the imports that make it."""
    between: dict[str, set[str]] = {}
    for source, targets in arrows(src).items():
        between.setdefault(room_of(source), set()).update({room_of(target) for target in targets} - {room_of(source)})
    return [
        f"{', '.join(group)}: " + "; ".join(f"{source} -> {target}" for source, target in _within(src, group))
        for group in circles(between)
    ]


def _within(src: Path, rooms: list[str]) -> Iterator[tuple[str, str]]:
    for source, targets in arrows(src).items():
        for target in sorted(targets):
            if room_of(source) != room_of(target) and {room_of(source), room_of(target)} <= set(rooms):
                yield source, target


def backward(src: Path) -> list[str]:
    """Return the imports that run against the order; a room that is not in it is named, too."""
    found = [f"{module}: no room of the order" for module in modules(src) if room_of(module) not in {"", *LEVELS}]
    for source, targets in arrows(src).items():
        for target in sorted(targets):
            # abo_vqa/__init__.py may be imported by all and imports nothing.
            if LEVELS.get(room_of(target), -1) > LEVELS.get(room_of(source), -1):
                found.append(f"{source} -> {target}")
    return found


def path_names(src: Path) -> set[str]:
    """Return the names of common/layout.py that are paths, or functions that return or read one."""
    definitions = {}
    path = module_file(LAYOUT, src)
    assert path is not None
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.FunctionDef):
            used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            targets = node.targets if isinstance(node, ast.Assign) else []
            bound = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            if isinstance(node, ast.FunctionDef):
                bound = {node.name}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                bound = {node.target.id}
            definitions |= {name: used - bound for name in bound}
    found, before = {"Path"}, -1
    while len(found) != before:
        before = len(found)
        found |= {name for name, used in definitions.items() if used & found}
    return found - {"Path"}


def beyond_the_stages(src: Path) -> list[str]:
    """Return the imports of common.tracking and of layout's paths by modules that are no stage."""
    paths = path_names(src)
    found = []
    for module in modules(src):
        if module.endswith(".stage") or room_of(module) in STAGE_LIKE:
            continue
        for origin, name in sorted(imported_names(src, module)):
            if f"{origin}.".startswith(f"{TRACKING}.") or (origin == LAYOUT and (name in paths or name in ("", "*"))):
                found.append(f"{module} -> {origin}.{name}".rstrip("."))
    return found


def test_no_circle_of_modules(root: Path) -> None:
    assert circles_of_modules(root / "src") == []


def test_no_circle_of_rooms(root: Path) -> None:
    found = circles_of_rooms(root / "src")
    assert not found, "\n".join(found)


def test_no_import_runs_against_the_order(root: Path) -> None:
    found = backward(root / "src")
    assert not found, "\n".join(found)


def test_only_stages_know_mlflow_and_the_paths(root: Path) -> None:
    found = beyond_the_stages(root / "src")
    assert not found, "\n".join(found)


def test_paths_are_told_from_column_names(root: Path) -> None:
    found = path_names(root / "src")
    assert {"SAMPLE", "SPLITS", "split_table", "read_questions"} <= found
    assert not found & {"PRE_CLIP", "POST_CLIP", "ACCURACY", "with_options"}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A small src folder that keeps every rule."""
    src = tmp_path / "src"
    for module, text in {
        "abo_vqa": "",
        "abo_vqa.common": "",
        "abo_vqa.common.tracking": "",
        "abo_vqa.common.tracking.run": "",
        "abo_vqa.common.layout": (
            "from pathlib import Path\n"
            'SAMPLE = Path("sample")\n'
            'LOSS, RATE = "loss", "rate"\n'
            "def table(): return SAMPLE\n"
            "def rows(): return table()\n"
        ),
        "abo_vqa.catalog": "",
        "abo_vqa.catalog.pool": "from abo_vqa.common.layout import LOSS\n",
        "abo_vqa.catalog.stage": (
            "from abo_vqa.catalog import pool\n"
            "from abo_vqa.common.layout import SAMPLE, rows\n"
            "from abo_vqa.common.tracking import tracked_run\n"
        ),
        "abo_vqa.metrics": "",
        "abo_vqa.metrics.answers": "from abo_vqa.catalog.pool import Pool\n",
        "abo_demo": "from abo_vqa.metrics.answers import score\n",
    }.items():
        package = module.count(".") == 0 or module.rpartition(".")[2] in ("common", "tracking", "catalog", "metrics")
        write(src, f"{module}.__init__" if package else module, text)
    return src


def write(src: Path, module: str, text: str) -> None:
    path = src.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def broken(src: Path) -> set[str]:
    checks = (circles_of_modules, circles_of_rooms, backward, beyond_the_stages)
    return {check.__name__ for check in checks if check(src)}


def test_a_sound_package_passes(sound: Path) -> None:
    assert not broken(sound)


@pytest.mark.parametrize(
    ("module", "text", "rules"),
    [
        ("catalog.pool", "def late():\n    from abo_vqa.catalog.stage import main\n", {"circles_of_modules"}),
        ("catalog.plots", "from abo_vqa.metrics import answers\n", {"circles_of_rooms", "backward"}),
        ("catalog.plots", "from ..metrics.answers import score\n", {"circles_of_rooms", "backward"}),
        ("common.errors", "import abo_vqa.metrics.answers\n", {"circles_of_rooms", "backward"}),
        ("metrics.words", "from abo_demo import draw\n", {"circles_of_rooms", "backward"}),
        ("statistics.means", "from abo_vqa.metrics.answers import score\n", {"backward"}),
        ("somewhere.new", "", {"backward"}),
        ("catalog.pool", "from abo_vqa.common.tracking import tracked_run\n", {"beyond_the_stages"}),
        ("catalog.pool", "from abo_vqa.common.tracking.run import tracked_run\n", {"beyond_the_stages"}),
        ("catalog.pool", "from abo_vqa.common.layout import SAMPLE\n", {"beyond_the_stages"}),
        ("catalog.pool", "from abo_vqa.common.layout import rows\n", {"beyond_the_stages"}),
        ("catalog.pool", "from abo_vqa.common import layout\n", {"beyond_the_stages"}),
        (
            "catalog.pool",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import abo_vqa.catalog.stage\n",
            set(),
        ),
        ("serving.model", "from abo_vqa.common.layout import SAMPLE\n", set()),
    ],
)
def test_a_broken_rule_is_seen(sound: Path, module: str, text: str, rules: set[str]) -> None:
    write(sound, f"abo_vqa.{module}", text)
    assert broken(sound) == rules
