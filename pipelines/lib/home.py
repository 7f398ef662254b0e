"""Where this installation keeps its state: `NIGHTSHIFT_HOME`, by default ``var/`` beside the code.

Every location can be moved on its own by an environment variable, which is how production puts the ledger into
PostgreSQL and the published store on S3. Nothing here creates a directory or reads a file.
"""

import os
from pathlib import Path

from pipelines.lib.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def home() -> Path:
    """The directory of this installation's state, absolute. Raises `ConfigError` where its path holds a %."""
    path = Path(os.environ.get("NIGHTSHIFT_HOME", REPOSITORY / "var")).resolve()
    if "%" in str(path):
        raise ConfigError(f"NIGHTSHIFT_HOME is {path}; the published table cannot stand under a path with a %: choose another")
    return path


def ledger_url() -> str:
    """SQLAlchemy URL of the database that holds the ledger."""
    return os.environ.get("NIGHTSHIFT_LEDGER_URL", f"sqlite:///{home() / 'ledger.db'}")


def published_url() -> str:
    """Path or URL (``s3://…``) under which the published tables stand."""
    return os.environ.get("NIGHTSHIFT_PUBLISHED_URL", str(home() / "published"))


def tracking_uri() -> str:
    """MLflow tracking and registry URI."""
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}")


def artifact_root() -> str:
    """Where MLflow keeps artefacts when this process talks to a database itself rather than to a server."""
    return os.environ.get("NIGHTSHIFT_ARTIFACT_ROOT", str(home() / "mlflow" / "artifacts"))


def index_root() -> Path:
    """The directory of the published generations of the vector index: a disk that all readers share, since FAISS maps files."""
    return Path(os.environ.get("NIGHTSHIFT_INDEX_DIR", home() / "index")).resolve()
