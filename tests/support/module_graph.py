"""The import graph of the project's packages, read from the syntax trees of a src folder.

Imports inside functions count; those under `if TYPE_CHECKING:` do not.
"""

import ast
from functools import cache
from pathlib import Path

OURS = ("abo_vqa", "abo_demo")


def modules(src: Path) -> dict[str, Path]:
    """Return every module of the packages by its dotted name, a package as its __init__.py."""
    found = {}
    for path in sorted(file for package in OURS for file in (src / package).rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def file_of(src: Path, module: str) -> Path | None:
    """Return the file of a dotted name; None for what is no module of the packages."""
    path = src.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None) if module.split(".")[0] in OURS else None


@cache
def imported_names(src: Path, module: str) -> frozenset[tuple[str, str]]:
    """Return the pairs (module, name) that a module imports from the packages; the name is "" for the whole module."""
    path = file_of(src, module)
    assert path is not None, module
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                found.add((whole, "") if file_of(src, whole) else (origin, alias.name))
    return frozenset((origin, name) for origin, name in found if file_of(src, origin))


def imported(src: Path, module: str) -> set[str]:
    """Return the modules of the packages that a module names in its imports."""
    return {origin for origin, _ in imported_names(src, module)}


def closure(src: Path, module: str) -> set[str]:
    """Return the modules of the packages that are loaded with a module: itself, its imports and their packages."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name and name not in seen:
            seen.add(name)
            waiting += [*imported(src, name), name.rpartition(".")[0]]
    return seen
