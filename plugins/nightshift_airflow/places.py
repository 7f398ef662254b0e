"""Where an installation keeps what: its repository, its state, DVC's cache, and what belongs to one run.

An id from outside becomes part of a path or a ref here and nowhere else.
"""

import hashlib
import os
import re
from pathlib import Path

from nightshift_airflow.refusals import RunRefusedError
from pipelines.lib.core import home as state

REPOSITORY = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", Path(__file__).resolve().parents[2])).resolve()

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+~-]{0,199}", re.ASCII)
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.ASCII)


def home() -> Path:
    """Return the directory of this installation's state. Raises `ConfigError` if its path is unsafe."""
    return state.home(REPOSITORY)


def cache() -> Path:
    """Return the directory of the DVC cache that all workspaces share."""
    return Path(os.environ.get("NIGHTSHIFT_DVC_CACHE", REPOSITORY / ".dvc" / "cache"))


def check_id(what: str, text: object) -> str:
    """Return `text` if it is fit for a path and a ref, else `RunRefusedError` naming `what`."""
    if not isinstance(text, str) or not _ID.fullmatch(text) or ".." in text:
        shown = repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:60]}… ({len(repr(text))} characters)"
        raise RunRefusedError(f"{what} is {shown}; it must be 1 to 200 letters, digits and . _ : + ~ -, beginning with a letter or digit")
    return text


def slug_of(run_id: str) -> str:
    """Return a name for `run_id` that is safe in a path and in a ref on any file system; carries a hash where it is not the id itself."""
    check_id("dag_run_id", run_id)
    if _SLUG.fullmatch(run_id):
        return run_id
    plain = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")[:60]
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


def workspace_path(dag_id: str, run_id: str) -> Path:
    """Return where the workspace of a run stands, or would stand."""
    return home() / "workspaces" / check_id("dag_id", dag_id) / slug_of(run_id)


def reports_path(dag_id: str, run_id: str) -> Path:
    """Return where the reports of a run are kept for the pages; outlives the workspace."""
    return home() / "reports" / check_id("dag_id", dag_id) / slug_of(run_id)
