"""A run's workspace: a git worktree of the commit that the run is pinned to, sharing one DVC cache with all others.

``<home>/workspaces/<dag_id>/<slug>`` while the run lasts, ``refs/runs/<dag_id>/<slug>`` ever after. Two runs never share a workspace, so no
two of them wait for a DVC lock. Everything here can be called again at any time: `open_workspace` finds a whole workspace and
uses it, finds the remains of a killed attempt and rebuilds it, or finds the ref of a finished run and restores it.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nightshift_airflow import places
from nightshift_airflow.dvc_config import configure_dvc
from nightshift_airflow.places import slug_of, workspace_path
from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.repository import commit_of, git, pin_commit
from nightshift_airflow.use_cases import name_of, settings_of
from pipelines.lib.core import use_cases as declared
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.own_names import require_own_names

log = logging.getLogger(__name__)

_MARKER = Path(".dvc/tmp/workspace.json")  # ignored by git, written last: where it stands, the workspace is whole


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A run's worktree at `path`, of `commit`; `snapshot` where that commit holds uncommitted changes, `slug` its safe name."""

    path: Path
    dag_id: str
    run_id: str
    slug: str
    commit: str
    snapshot: bool

    @property
    def ref(self) -> str:
        """Where the finished run is recorded."""
        return f"refs/runs/{self.dag_id}/{self.slug}"


def find_workspace(dag_id: str, run_id: str) -> Workspace | None:
    """Return the whole workspace of a run, or None."""
    path = workspace_path(dag_id, run_id)
    try:
        content = json.loads((path / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Workspace(path=path, dag_id=dag_id, run_id=run_id, slug=path.name, commit=content["commit"], snapshot=content["snapshot"])


def open_workspace(dag_id: str, run_id: str, pinned: tuple[str, bool] | None = None) -> Workspace:
    """Return the workspace of a run, made if there is none; of the commit that is `pinned`, by default what `pin_commit` gives now.

    Raises `RunRefusedError` for an unfit id, a use case that does not exist, is broken or shares a name with another one, and a dirty working
    tree under the production profile.
    """
    if existing := find_workspace(dag_id, run_id):
        log.info("workspace %s stands, at commit %s", existing.path, existing.commit)
        return existing
    path = workspace_path(dag_id, run_id)
    ref = f"refs/runs/{dag_id}/{path.name}"
    recorded = commit_of(ref)
    if recorded:
        commit = git("rev-parse", f"{recorded}^")
        snapshot = "Snapshot: true" in git("show", "--no-patch", "--format=%B", recorded)
        log.info("run %s was recorded before: restoring it from %s", run_id, ref)
    else:
        commit, snapshot = pinned or pin_commit()
    add_worktree(path, commit)
    if recorded:
        git("restore", "--source", recorded, "--worktree", "--", ".", cwd=path)
        git("restore", "--source", commit, "--worktree", "--", "dvc.yaml", cwd=path)  # all stages, also those it did not reach
    else:
        _declare(path, path, dag_id)
    configure_dvc(path)
    marker = path / _MARKER
    marker.parent.mkdir(parents=True, exist_ok=True)
    write_text(marker, json.dumps({"dag_id": dag_id, "run_id": run_id, "commit": commit, "snapshot": snapshot}))
    return Workspace(path=path, dag_id=dag_id, run_id=run_id, slug=path.name, commit=commit, snapshot=snapshot)


@contextlib.contextmanager
def scratch(dag_id: str, run_id: str) -> Iterator[Workspace]:
    """Yield a directory with the repository's code, ``params.yaml`` and ``run.yaml`` for a stage that needs no workspace of its own; gone
    afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="nightshift-") as directory:
        path = Path(directory)
        for name in ("params.yaml", "run.yaml"):
            shutil.copyfile(places.REPOSITORY / name, path / name)
        _declare(path, places.REPOSITORY, dag_id)
        (path / "pipelines").symlink_to(places.REPOSITORY / "pipelines", target_is_directory=True)
        yield Workspace(path=path, dag_id=dag_id, run_id=run_id, slug=slug_of(run_id), commit="", snapshot=False)


def _declare(path: Path, root: Path, dag_id: str) -> None:
    """Have the workspace at `path` hold the whole parameters of the DAG's use case, as the files below `root` declare it.

    Refuse a use case that shares a name with another one: its run would write into the ledger of that one.
    """
    try:
        require_own_names(declared.find(name_of(dag_id), root))
        declared.write_into(path, name_of(dag_id), root)
    except ConfigError as error:
        raise RunRefusedError(str(error)) from None


def remove_workspace(path: Path) -> None:
    """Remove the worktree at `path`; a missing one is not an error."""
    with _worktree_lock():
        _remove(path)


def _remove(path: Path) -> None:
    if path.exists():  # out of sight first: what is killed halfway must not look whole
        (path / _MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)
    git("worktree", "prune")


def collect_workspaces(retention_days: float) -> list[Path]:
    """Remove workspaces that failed runs left behind and nobody has touched for long; return their paths.

    For how long, its own DAG says: each use case has its own policy. `retention_days` is for the workspace of a DAG without one, such as a removed one.
    """
    now = time.time()
    collected = []
    for path in sorted((places.home() / "workspaces").glob("*/*")):
        days = _retention_days(path.parent.name, retention_days)
        with _worktree_lock():  # nobody makes or removes one between the look and the removal
            if (touched := _last_touched(path)) is None or touched >= now - days * 86_400:
                continue
            log.info("collecting the workspace %s of a failed run, untouched for %s days", path, days)
            _remove(path)
        collected.append(path)
    return collected


def _retention_days(dag_id: str, otherwise: float) -> float:
    """Return how long the workspaces of `dag_id` are kept; `otherwise` if its use case is gone or broken, or sets no number of days."""
    try:
        days = float(settings_of(dag_id).get("retention_days", otherwise))
    except (ConfigError, KeyError, AttributeError, TypeError, ValueError):
        return otherwise
    return days if days >= 1 else otherwise  # with less, a run that is still open would lose its own


def repair_workspaces() -> None:
    """Make the workspaces usable after they or the repository were moved: git and DVC keep absolute paths of both.

    A workspace that git has forgotten since then is removed: the ref of its run restores it. Those of another repository are left alone.
    """
    paths = [path for path in sorted((places.home() / "workspaces").glob("*/*")) if (path / ".git").is_file()]
    if not paths:
        return
    common = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    with _worktree_lock():
        git("worktree", "repair", *map(str, paths), check=False)  # fails for one that is forgotten, and repairs the others
    for path in paths:
        repository = git(*common, cwd=path, check=False)
        if repository == git(*common):
            configure_dvc(path)
        elif not repository:
            log.warning("%s belongs to no repository any more: removing it", path)
            shutil.rmtree(path)


def _last_touched(path: Path) -> float | None:
    """Return when something last happened in a workspace (UNIX time), None if it is gone."""
    times = []
    for file in (path, path / _MARKER, path / "dvc.lock"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            times.append(file.stat().st_mtime)
    return max(times, default=None)


def add_worktree(path: Path, commit: str) -> None:
    """Make a worktree of `commit` at `path`, in place of what a killed attempt may have left there."""
    with _worktree_lock():
        if path.exists():
            log.warning("%s is what a killed attempt left: rebuilding it", path)
            shutil.rmtree(path)
        git("worktree", "prune")
        path.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "add", "--detach", "--quiet", str(path), commit)


@contextlib.contextmanager
def _worktree_lock() -> Iterator[None]:
    """Yield one process at a time adds or prunes: git's own `prune` may remove the half-written entry of another `add`."""
    common = Path(git("rev-parse", "--path-format=absolute", "--git-common-dir"))
    with (common / "nightshift-worktrees.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the kernel however this process ends
        yield


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
