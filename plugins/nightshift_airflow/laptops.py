"""The laptop's directory of a use case: a worktree of the present tree in which ``dvc repro`` works, kept from call to call.

The default use case is reproduced in the repository itself. Every other one has ``<home>/laptop/<name>`` with a ``dvc.lock`` and data of its own, and
shares the DVC cache. So two use cases that are reproduced in turn take nothing from each other.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from nightshift_airflow import places
from nightshift_airflow.dvc_config import configure_dvc
from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.repository import git, pin_commit
from nightshift_airflow.workspaces import Workspace, add_worktree, write_text
from pipelines.lib.core.own_names import require_own_names
from pipelines.lib.core.use_cases import UseCase, find, write_into

_LOCK_FILE = "dvc.lock"
_COMMON = ("rev-parse", "--path-format=absolute", "--git-common-dir")


@contextlib.contextmanager
def open_laptop(use_case: UseCase) -> Iterator[Workspace]:
    """Yield the directory of `use_case`, brought to the present tree. Data and ``dvc.lock`` in it stay.

    Raises `RunRefusedError` while another process has it open, and `ConfigError` for a broken use case, or one that shares a name with another one.
    """
    path = places.home() / "laptop" / use_case.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{use_case.name}.lock").open("a") as lock:  # given back by the kernel however this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunRefusedError(f"another make repro of {use_case.name} works in {path}; wait until it has ended") from None
        commit, snapshot = pin_commit()
        _bring_to(path, commit)
        require_own_names(find(use_case.name, path))
        write_into(path, use_case.name)
        configure_dvc(path)
        name = f"laptop{use_case.suffix}"
        yield Workspace(path=path, dag_id=name, run_id="laptop", slug="laptop", commit=commit, snapshot=snapshot)


def _bring_to(path: Path, commit: str) -> None:
    """Check `commit` out at `path`, with the ``dvc.lock`` that was there. A new directory has none: the repository's is of another table."""
    lock = path / _LOCK_FILE
    known = lock.read_text(encoding="utf-8") if lock.exists() else None
    if _is_ours(path):
        git("checkout", "--quiet", "--force", "--detach", commit, cwd=path)
    else:  # new, or moved, or forgotten by git: the cache gives the data back
        shutil.rmtree(path, ignore_errors=True)
        add_worktree(path, commit)
    if known is None:
        lock.unlink(missing_ok=True)
    else:
        write_text(lock, known)


def _is_ours(path: Path) -> bool:
    return (path / ".git").is_file() and git(*_COMMON, cwd=path, check=False) == git(*_COMMON)
