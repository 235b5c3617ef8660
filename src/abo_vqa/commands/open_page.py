"""Open a page in the user's browser, if a person sits in front of one."""

import os
import sys
import webbrowser
from pathlib import Path

# They would take over the terminal.
_IN_THE_TERMINAL = ("www-browser", "links", "elinks", "lynx", "w3m")


def open_page(path: Path) -> bool:
    """Open a file in the browser; return whether there is a terminal, a display of this machine and a browser."""
    if not sys.stdout.isatty() or os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    name = getattr(browser, "name", "")
    if isinstance(name, str) and Path(name).name in _IN_THE_TERMINAL:
        return False
    return browser.open(path.resolve().as_uri())
