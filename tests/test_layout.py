"""tests/abo_vqa has the folders of src/abo_vqa; every module lies in a package and is short enough to read at once."""

from pathlib import Path

LONGEST = 300


def packages(folder: Path, pattern: str) -> set[str]:
    """Return the folders below a folder, itself left out, in which files of the pattern lie."""
    return {str(file.parent.relative_to(folder)) for file in folder.rglob(pattern)} - {"."}


def without_source(root: Path) -> set[str]:
    return packages(root / "tests/abo_vqa", "*.py") - packages(root / "src/abo_vqa", "*.py")


def without_tests(root: Path) -> set[str]:
    return packages(root / "src/abo_vqa", "*.py") - packages(root / "tests/abo_vqa", "test_*.py")


def loose(root: Path) -> set[str]:
    """Return the modules at the package's root, its __init__.py apart."""
    return {file.name for file in (root / "src/abo_vqa").glob("*.py")} - {"__init__.py"}


def too_long(root: Path) -> dict[str, int]:
    """Return the modules of more than 300 lines and how many they have."""
    lines = {str(file.relative_to(root)): len(file.read_text().splitlines()) for file in (root / "src").rglob("*.py")}
    return {name: count for name, count in lines.items() if count > LONGEST}


def test_every_folder_of_tests_is_a_package(root: Path) -> None:
    assert without_source(root) == set()


def test_every_package_has_tests(root: Path) -> None:
    assert without_tests(root) == set()


def test_no_module_lies_outside_the_packages(root: Path) -> None:
    assert loose(root) == set()


def test_no_module_is_too_long(root: Path) -> None:
    assert too_long(root) == {}


def test_what_breaks_the_layout_is_seen(tmp_path: Path) -> None:
    for name in (
        "src/abo_vqa/__init__.py",
        "src/abo_vqa/catalog/__init__.py",
        "src/abo_vqa/common/params/__init__.py",
        "tests/abo_vqa/catalog/test_pool.py",
        "tests/abo_vqa/common/params/test_params.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n" * LONGEST)
    checks = (without_source, without_tests, loose, too_long)
    assert not any(check(tmp_path) for check in checks)

    (tmp_path / "src/abo_vqa/catalog/pool.py").write_text("\n" * (LONGEST + 1))
    (tmp_path / "src/abo_vqa/errors.py").touch()
    (tmp_path / "tests/abo_vqa/catalog").rename(tmp_path / "tests/abo_vqa/catalogue")
    assert [check(tmp_path) for check in checks] == [
        {"catalogue"},
        {"catalog"},
        {"errors.py"},
        {"src/abo_vqa/catalog/pool.py": LONGEST + 1},
    ]
