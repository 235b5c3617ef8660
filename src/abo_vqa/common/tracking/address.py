"""Addresses of MLflow stores: relative paths, passwords, and where a store without a server keeps its files."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from abo_vqa.common.errors import InputError

VARIABLE = "MLFLOW_TRACKING_URI"
_USER, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?):(//.*)?")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# Up to the last @ of a word, because a password may contain one.
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*:)\S*@"), r"\1***@"),
    (re.compile(r"(https?://)[^\s:/@]+@"), r"\1***@"),
    (re.compile(r"([?&][a-z_]*(?:password|passwd|pwd|token|secret)=)[^\s&'\"]*", re.IGNORECASE), r"\1***"),
)
# Columns of MLflow's tables that have an artifact's address.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def tracking_address(root: Path, default: Path) -> str:
    """Return the store's address: MLFLOW_TRACKING_URI, or the database `default`.

    A relative SQLite path lies at `root`: experiments of DVC run in folders that are deleted afterwards. A server's
    user and password move to MLflow's variables, so that no message or tag has them. Raises InputError for a database
    in memory.
    """
    uri = os.environ.get(VARIABLE) or f"sqlite:///{default}"
    if found := _SQLITE.fullmatch(uri):
        return f"{found[1]}:///{_database_path(uri, found[2] or '', root)}"
    if not uri.startswith(("http://", "https://")):
        return uri
    parts = urlsplit(uri)
    if parts.username and parts.password:
        os.environ[_USER], os.environ[_PASSWORD] = unquote(parts.username), unquote(parts.password)
        uri = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        os.environ[VARIABLE] = uri
    return uri


def masked(text: str) -> str:
    """Return a text in which the passwords of all addresses are replaced by ***."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def is_database(uri: str) -> bool:
    """Return whether MLflow opens the address itself, without a server that would keep the artifacts."""
    return re.split(r"[:+]", uri, maxsplit=1)[0] in _DATABASES


def follow_moved_project(uri: str, known: str, artifacts: Path) -> None:
    """Correct the artifacts' addresses in a database of the project, if the project was moved or copied.

    known: the experiment's artifact location. artifacts: the project's folder. Only for SQLite files in the project:
    others may belong to several projects. Artifacts that someone put elsewhere on purpose stay there.
    """
    wanted = artifacts.as_uri()
    path = Path(uri.partition(":///")[2].partition("?")[0])
    if known == wanted or not uri.startswith("sqlite") or not path.is_relative_to(artifacts.parent):
        return
    old = Path(unquote(urlsplit(known).path))
    if urlsplit(known).scheme not in ("", "file") or old.name != artifacts.name:
        return
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        runs = [run for (run,) in database.execute("SELECT run_uuid FROM runs")]
        if old.is_dir() and not any((artifacts / run).is_dir() for run in runs):
            return
        for table, column in _LOCATIONS:
            within = f"{column} = ? OR substr({column}, 1, ?) = ?"
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {within}",
                (wanted, len(known) + 1, known, len(known) + 1, f"{known}/"),
            )


def _database_path(uri: str, rest: str, root: Path) -> str:
    path, mark, query = rest.removeprefix("///" if rest.startswith("///") else "//").partition("?")
    if path in ("", ":memory:") or path.startswith("file:"):
        raise InputError(
            f"{VARIABLE}: {uri} names no file; give sqlite:///PATH, or unset it for mlflow.db of the project"
        )
    return f"{root / path}{mark}{query}"
