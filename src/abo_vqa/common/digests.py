"""Digests of the code, packages, model folders and values that a journal or a checkpoint depends on.

Journals and checkpoints are named after them, so that work with other inputs is never resumed.
"""

from abo_vqa.common.processor import PORTABLE

import ast
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import model_source

SRC = Path(__file__).parents[2]
# Imported by every stage, but without effect on results: tracking only logs, the two parameter modules only declare
# values, which callers digest, and a change to this module shows in the digests. Counting them would discard hours of
# work for a new tag or another stage's parameter.
WITHOUT_RESULT = (
    "abo_vqa.common.tracking", "abo_vqa.common.params.data", "abo_vqa.common.params.measure", "abo_vqa.common.digests",
)  # fmt: skip
_MODULES = "*" + ".py"  # in two parts, for this module does not import its folder
# Files in a model folder that no loader opens.
NOT_LOADED = ("*.md", "LICENSE*", ".*")


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits for a JSON value; the order of an object's keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package, and the kernels that they are told to use (common.processor)."""
    return {name: version(name) for name in names} | {name: os.environ.get(name, "") for name in PORTABLE}


def code_files(module: str, src: Path = SRC, without: Iterable[str] = ()) -> list[Path]:
    """Return the files in `src` that a module runs: itself, its transitive imports, their packages and data files.

    Imports inside functions count, type-only imports do not. A data file counts if a module in its folder names it in a
    string; the string "*.py" stands for all modules of the folder, which a registry imports. without: modules and
    packages to exclude, with imports that only they need.
    """
    left_out, files, waiting, seen = tuple(without), set(), [module], set()
    while waiting:
        name = waiting.pop()
        path = module_file(name, src)
        if name in seen or path is None or any(f"{name}.".startswith(f"{other}.") for other in left_out):
            continue
        seen.add(name)
        tree = code_of(path)
        files |= {path, *_data_files(tree, path.parent)}
        waiting += _parents(name)
        if _imports_its_folder(tree):
            waiting += [f"{name.rpartition('.')[0]}.{beside.stem}" for beside in path.parent.glob(_MODULES)]
        for source, imported in imports(tree, name, is_package=path.name == "__init__.py"):
            waiting += [source, f"{source}.{imported}"] if imported else [source]
    return sorted(files)


def module_file(module: str, src: Path = SRC) -> Path | None:
    """Return the file of a module or package in `src` by its dotted name; None if there is none."""
    path = src.joinpath(*module.split("."))
    return next((found for found in (path / "__init__.py", path.with_suffix(".py")) if found.is_file()), None)


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each `from module import name`, and (module, "") for each `import module`.

    tree: of the module that imports, named `module`, which relative imports refer to. A name may be a module, too.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = module.split(".")
                base = parts[: len(parts) - node.level + is_package]
                source = ".".join([*base, source] if source else base)
            yield from ((source, alias.name) for alias in node.names)


def code_digest(module: str, src: Path = SRC) -> str:
    """Return the SHA-256 of the code that a module runs and that can affect results.

    Modules are digested as syntax trees: comments, docstrings and formatting do not count.
    """
    found = hashlib.sha256()
    for path in code_files(module, src, WITHOUT_RESULT):
        content = ast.dump(code_of(path)).encode() if path.suffix == ".py" else path.read_bytes()
        found.update(f"{path.relative_to(src).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return found.hexdigest()


def folder_digest(folder: Path, ignore: Iterable[str] = NOT_LOADED) -> str:
    """Return the SHA-256 of a folder's file names and contents; files that match an `ignore` pattern are skipped."""
    found, patterns = hashlib.sha256(), tuple(ignore)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if any(fnmatch(part, pattern) for part in name.parts for pattern in patterns):
            continue
        with path.open("rb") as file:
            found.update(f"{name.as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def model_identity(base: str, parameter: str) -> str:
    """Return a model's version: the digest of its folder, or its hub id and commit.

    parameter: full name of the parameter that sets `base`, for the InputError if the model cannot be opened.
    """
    if Path(base).is_dir():
        return folder_digest(Path(base))
    name, commit = model_source(base, parameter)
    if commit:
        return f"{name}@{commit}"
    # Imported here: it takes seconds, and code digests do not need it.
    from transformers import AutoConfig

    try:
        return f"{name}@{AutoConfig.from_pretrained(name, trust_remote_code=False)._commit_hash}"
    except (OSError, ValueError) as error:
        raise cannot_open_model(base, parameter, error) from error


def cannot_open_model(base: str, parameter: str, error: Exception) -> InputError:
    """Return the error for a model that transformers cannot open."""
    reason = (str(error).splitlines() or ["no reason given"])[0]
    return InputError(
        f"{parameter}: cannot open {base!r}: {reason} (give a model folder, or an id that can be downloaded)"
    )


def md5_of(path: Path) -> str:
    """Return the MD5 of a file or folder as in dvc.lock; a folder's is the MD5 of its file list."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = sorted(
        (file for file in path.rglob("*") if file.is_file()), key=lambda file: file.relative_to(path).as_posix()
    )
    listed = [{"md5": md5_of(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _parents(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


def _imports_its_folder(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Constant) and node.value == _MODULES for node in ast.walk(tree))


def _data_files(tree: ast.Module, folder: Path) -> Iterator[Path]:
    beside = {path.name: path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in beside:
            yield beside[node.value]


def code_of(path: Path) -> ast.Module:
    """Return a module's syntax tree without docstrings and TYPE_CHECKING blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            node.body = []
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
    return tree
