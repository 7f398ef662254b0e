"""Follow an installation that was moved or copied: MLflow keeps the absolute paths of its files.

The ledger keeps absolute paths too, and is append-only. So its paths stay as they were, and a reader looks under the present root first. The digest in
the ledger decides whether a file found there is the right one.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

_ROOT = "/mlflow/artifacts"
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's database that hold a path."""


def follow_artifacts(database: Path, root: Path) -> str | None:
    """Point MLflow's SQLite file at `database` to the artefacts under `root`, ``…/mlflow/artifacts``, all or nothing.

    Return the root that the database named before, or None if nothing had to change. A second call changes nothing.
    """
    if not database.exists() or not str(root).endswith(_ROOT):
        return None
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        present = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in present:
            return None
        named = {str(row[0]) for row in connection.execute("SELECT artifact_location FROM experiments") if row[0]}
        former = sorted(path for path in named if path.endswith(_ROOT) and path != str(root))
        for before in former:
            for table, column in _COLUMNS:
                # substr, since LIKE reads % and _ in a path as patterns
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (str(root), len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
    return former[0] if former else None


def present_path(path: Path, root: Path) -> Path:
    """Return `path` as it is under `root` if there is such a file, else `path` itself."""
    _, found, rest = str(path).rpartition(f"{_ROOT}/")
    candidate = root / rest
    return candidate if found and candidate.exists() else path
