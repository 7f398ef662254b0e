"""Where this installation keeps its state: `NIGHTSHIFT_HOME`, by default ``var/`` next to the code.

Every location can be moved on its own by an environment variable, which is how production puts the ledger into
PostgreSQL and the published store on S3. Nothing here creates a directory or reads a file.
"""

import os
from pathlib import Path

from pipelines.lib.core.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]


_UNSAFE = "?#%$*[]|^\\,"
"""Characters that something between here and the disk reads as its own: database URLs, Delta, globs, and the settings of Airflow and
DVC.
"""


def check_path(name: str, path: Path) -> Path:
    """Return `path`, which `name` gives, if state can be kept under it. Raises `ConfigError` that names the first unsafe character.

    SQLAlchemy cuts a database file off at ``?`` and decodes ``%``, Delta decodes ``%`` too and crashes on ``|`` and ``^``, DVC cuts a path off at ``#`` and splits it at a comma,
    Airflow expands ``$`` and ``%``, DuckDB and `glob` read ``*`` and brackets as patterns. The state would end up elsewhere, without an error.
    """
    for character in str(path):
        if character in _UNSAFE or not character.isprintable():
            raise ConfigError(
                f"{name} is {str(path)!r}; files under a path with {character!r} would be written elsewhere. Choose a directory without "
                f"line breaks, tabs and any of {' '.join(_UNSAFE)}"
            )
    return path


def home(repository: Path | None = None) -> Path:
    """Return the directory of this installation's state, absolute. Raises `ConfigError` if its path is unsafe.

    By default it is ``var/`` of `repository`, which is by default that of `NIGHTSHIFT_REPOSITORY`, else the one of this code: the code of a run is a copy.
    """
    root = repository or Path(os.environ.get("NIGHTSHIFT_REPOSITORY", REPOSITORY))
    return check_path("NIGHTSHIFT_HOME", Path(os.environ.get("NIGHTSHIFT_HOME", root / "var")).resolve())


def ledger_url() -> str:
    """Return the SQLAlchemy URL of the database that holds the ledger."""
    return os.environ.get("NIGHTSHIFT_LEDGER_URL", f"sqlite:///{home() / 'ledger.db'}")


def published_url() -> str:
    """Return the path or URL (``s3://…``) under which the published tables are."""
    return _location("NIGHTSHIFT_PUBLISHED_URL", "published")


def tracking_uri() -> str:
    """Return the tracking and registry URI of MLflow."""
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}")


def artifact_root() -> str:
    """Return where MLflow keeps artefacts when this process talks to a database itself rather than to a server."""
    return _location("NIGHTSHIFT_ARTIFACT_ROOT", "mlflow/artifacts")


def index_root() -> Path:
    """Return the directory of the published generations of the vector index: a disk that all readers share, since FAISS maps files."""
    return check_path("NIGHTSHIFT_INDEX_DIR", Path(_location("NIGHTSHIFT_INDEX_DIR", "index")).resolve())


def _location(variable: str, default: str) -> str:
    """Return the path or URL that `variable` gives, else `default` in the home. A path must be safe; a URL is for its own store to
    judge.
    """
    given = os.environ.get(variable)
    if given is None:
        return str(home() / default)
    if "://" not in given:
        check_path(variable, Path(given))
    return given
