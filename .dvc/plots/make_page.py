"""Build .dvc/plots/page.html, the page that `dvc plots` fills: scripts inside that DVC would load from a CDN.

make plots-page     (needs npm and its registry; after an upgrade of dvc-render only)
"""

import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from dvc_render import VegaRenderer

PAGE = """<!DOCTYPE html>
<html>
<head>
    {refresh_tag}
    <meta charset="utf-8">
    <title>DVC Plot</title>
    <style>
        table { border-spacing: 15px; }
        img { max-width: 100%; }
    </style>
SCRIPTS
</head>
<body>
    {plot_divs}
</body>
</html>
"""


def wanted() -> list[tuple[str, str]]:
    """Return name and version of every package that the installed dvc-render's page loads."""
    return re.findall(r"cdn\.jsdelivr\.net/npm/([\w-]+)@([\d.]+)", VegaRenderer.SCRIPTS)


def fetch(name: str, version: str) -> str:
    """Return the package's browser build, its licence before it, as an HTML script."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)
        with tarfile.open(Path(folder, f"{name}-{version}.tgz")) as archive:
            licence, script = (
                archive.extractfile(f"package/{path}").read().decode()  # type: ignore[union-attr]
                for path in ("LICENSE", f"build/{name}.min.js")
            )
    script = re.sub(r"\n//# sourceMappingURL=.*", "", script)
    assert "</script" not in script and "{plot_divs}" not in script
    return f"<!-- {name} {version}\n{licence.strip()}\n-->\n<script>{script.strip()}</script>"


if __name__ == "__main__":
    scripts = "\n".join(fetch(*package) for package in wanted())
    Path(__file__).with_name("page.html").write_text(PAGE.replace("SCRIPTS", scripts), encoding="utf-8")
