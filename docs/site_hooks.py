"""Hooks of mkdocs.yml: the README is the site's first page, and every room of the code has a page of its docstrings."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the code to the navigation."""
    assert config.nav is not None
    config.nav.append({"Code": [{room: f"code/{room}.md"} for room in _rooms()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README and a page per room."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=readme))
    for room in _rooms():
        files.append(File.generated(config, f"code/{room}.md", content=f"# {room}\n\n::: abo_vqa.{room}\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave the text of links to files that the site does not have, such as the code's."""
    folder = Path(page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        target = (Path(config.docs_dir) / folder / link[3]).resolve()
        inside = target.is_relative_to(config.docs_dir) and (target.exists() or files.get_file_from_path(link[3]))
        if target == ROOT / "README.md":
            return link[0].replace(link[3], f"{'../' * len(folder.parts)}index.md")
        return link[0] if inside else link[2]

    return _LINK.sub(kept, markdown)


def _rooms() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "src/abo_vqa").glob("*/__init__.py"))
