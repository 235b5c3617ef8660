"""What git knows of the project."""

import subprocess
from pathlib import Path


def git(*arguments: str, folder: Path = Path(".")) -> str | None:
    """Return what git prints; None where it fails, or where there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def head(folder: Path = Path(".")) -> str | None:
    """Return the commit that is checked out; None where there is none."""
    found = git("rev-parse", "HEAD", folder=folder)
    return found.strip() if found else None
