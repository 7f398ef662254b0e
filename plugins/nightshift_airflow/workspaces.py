"""A run's workspace: a git worktree of the commit that the run is pinned to, sharing one DVC cache with all others.

``<home>/workspaces/<dag_id>/<slug>`` while the run lasts, ``refs/runs/<dag_id>/<slug>`` ever after. Two runs never share a workspace, so no
two of them wait for a DVC lock. Everything here can be called again at any time: `open_workspace` finds a whole workspace and
uses it, finds the remains of a killed attempt and rebuilds it, or finds the ref of a finished run and restores it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from nightshift_airflow.cache_lock import cache_in_use

log = logging.getLogger(__name__)

REPOSITORY = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", Path(__file__).resolve().parents[2])).resolve()

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+~-]{0,199}", re.ASCII)
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.ASCII)
_MARKER = Path(".dvc/tmp/workspace.json")  # ignored by git, written last: where it stands, the workspace is whole
WHOLE = Path(".dvc/tmp/dvc.lock.whole")  # the last dvc.lock that was seen whole
_IN_FLIGHT = Path(".dvc/tmp/in-flight.lock")  # held shared by whoever has DVC at work in the workspace
_END = "\ndatasets: []\n"  # of a whole dvc.lock: DVC leaves it where it is, after all stages; half a file may be good YAML, but does not end so
_LARGEST_UNTRACKED = 50 * 2**20  # bytes; a snapshot is a git commit, and data does not belong into git
_HANDED_ON = ("data/models/registered.json", *(f"data/reports/{name}.json" for name in ("*/decision", "shadow/report", "approve/report")))
_IDENTITY = {"NAME": "Nightshift", "EMAIL": "nightshift@localhost"}


class RunRefusedError(ValueError):
    """The run cannot be made or opened as it was asked for: its id, partition, conf or commit is wrong, which no retry can fix.

    Airflow's API answers a `ValueError` with 400.
    """


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


def home() -> Path:
    """The directory of this installation's state; the same rule as `pipelines.lib.home`, which is not imported here."""
    return Path(os.environ.get("NIGHTSHIFT_HOME", REPOSITORY / "var")).resolve()


def check_id(what: str, text: object) -> str:
    """`text` if it is fit for a path and a ref, else `RunRefusedError` naming `what`."""
    if not isinstance(text, str) or not _ID.fullmatch(text) or ".." in text:
        shown = repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:60]}… ({len(repr(text))} characters)"
        raise RunRefusedError(f"{what} is {shown}; it must be 1 to 200 letters, digits and . _ : + ~ -, beginning with a letter or digit")
    return text


def slug_of(run_id: str) -> str:
    """A name for `run_id` that is safe in a path and in a ref on any file system; carries a hash where it is not the id itself."""
    check_id("dag_run_id", run_id)
    if _SLUG.fullmatch(run_id):
        return run_id
    plain = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")[:60]
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


def workspace_path(dag_id: str, run_id: str) -> Path:
    """Where the workspace of a run stands, or would stand."""
    return home() / "workspaces" / check_id("dag_id", dag_id) / slug_of(run_id)


def reports_path(dag_id: str, run_id: str) -> Path:
    """Where the reports of a run are kept for the pages; outlives the workspace."""
    return home() / "reports" / check_id("dag_id", dag_id) / slug_of(run_id)


def find_workspace(dag_id: str, run_id: str) -> Workspace | None:
    """The whole workspace of a run, or None."""
    path = workspace_path(dag_id, run_id)
    try:
        content = json.loads((path / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Workspace(path=path, dag_id=dag_id, run_id=run_id, slug=path.name, commit=content["commit"], snapshot=content["snapshot"])


def open_workspace(dag_id: str, run_id: str, pinned: tuple[str, bool] | None = None) -> Workspace:
    """The workspace of a run, made if there is none; of the commit that is `pinned`, by default what `pin_commit` gives now.

    Raises `RunRefusedError` for an unfit id, and for a dirty working tree under the production profile.
    """
    if existing := find_workspace(dag_id, run_id):
        log.info("workspace %s stands, at commit %s", existing.path, existing.commit)
        return existing
    path = workspace_path(dag_id, run_id)
    ref = f"refs/runs/{dag_id}/{path.name}"
    recorded = _commit_of(ref)
    if recorded:
        commit = _git("rev-parse", f"{recorded}^")
        snapshot = "Snapshot: true" in _git("show", "--no-patch", "--format=%B", recorded)
        log.info("run %s was recorded before: restoring it from %s", run_id, ref)
    else:
        commit, snapshot = pinned or pin_commit()
    _add_worktree(path, commit)
    if recorded:
        _git("restore", "--source", recorded, "--worktree", "--", ".", cwd=path)
        _git("restore", "--source", commit, "--worktree", "--", "dvc.yaml", cwd=path)  # all stages, also those it did not reach
    _configure_dvc(path)
    marker = path / _MARKER
    marker.parent.mkdir(parents=True, exist_ok=True)
    _write(marker, json.dumps({"dag_id": dag_id, "run_id": run_id, "commit": commit, "snapshot": snapshot}))
    return Workspace(path=path, dag_id=dag_id, run_id=run_id, slug=path.name, commit=commit, snapshot=snapshot)


@contextlib.contextmanager
def scratch(dag_id: str, run_id: str) -> Iterator[Workspace]:
    """A directory with the repository's code, ``params.yaml`` and ``run.yaml`` for a stage that needs no workspace of its own; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nightshift-") as directory:
        path = Path(directory)
        for name in ("params.yaml", "run.yaml"):
            shutil.copyfile(REPOSITORY / name, path / name)
        (path / "pipelines").symlink_to(REPOSITORY / "pipelines", target_is_directory=True)
        yield Workspace(path=path, dag_id=dag_id, run_id=run_id, slug=slug_of(run_id), commit="", snapshot=False)


def pin_commit() -> tuple[str, bool]:
    """The commit that a run opened now is pinned to, and whether it is a snapshot of a dirty working tree.

    The embedded profile commits what is not committed, beside the branch; production refuses it.
    """
    head = _git("rev-parse", "--verify", "HEAD^{commit}")
    dirty = _dirty_files()
    if not dirty:
        return head, False
    listed = ", ".join(dirty[:20]) + (f" and {len(dirty) - 20} more" if len(dirty) > 20 else "")
    if os.environ.get("NIGHTSHIFT_PROFILE") == "production":
        raise RunRefusedError(
            f"the working tree differs from commit {head[:12]} in {listed}; production runs commits only: commit or revert"
        )
    commit = _snapshot(head, dirty)
    log.warning("the working tree differs from commit %s in %s: this run is pinned to the snapshot %s of it", head[:12], listed, commit)
    return commit, True


@contextlib.contextmanager
def attempt(workspace: Workspace) -> Iterator[None]:
    """Let DVC work in `workspace`, beside whatever else of it does, and keep ``dvc.lock`` whole: before, afterwards, and however it ends.

    DVC writes ``dvc.lock`` and its own list of who reads and writes what in place: killed at that moment, it leaves half a file, on which
    every later attempt would fail, or which a sibling takes for whole and completes. What ended by itself while ``dvc.lock`` was whole is in
    the last whole copy; a sibling whose entry was lost with the torn file sees that by `is_kept`, and DVC restores its outputs in a second.
    """
    flight = workspace.path / _IN_FLIGHT
    flight.parent.mkdir(parents=True, exist_ok=True)
    with cache_in_use(cache()), flight.open("a") as file:  # the kernel lets go of it however this process ends
        with _dvc_waits(workspace):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            _mend(workspace, alone=alone)
            fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _dvc_waits(workspace):
                _mend(workspace, alone=False)


def forget_torn_outcomes() -> None:
    """Remove what killed processes have left half-written among DVC's records of what stages have made (its run cache).

    DVC takes the newest file of a folder there for the latest record, whatever its name, and fails on it in every workspace, as it does on an
    empty folder. Whoever writes one at this very moment fails too, and tries again.
    """
    for folder in (cache() / "runs").glob("*/*"):
        for torn in folder.glob(".*.tmp"):
            log.warning("%s is torn, since DVC was killed while it wrote: removing it", torn)
            torn.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds records
            folder.rmdir()


def is_kept(workspace: Workspace, stage: str) -> bool:
    """Whether the last whole copy of ``dvc.lock`` has an entry of `stage`, so that nothing can lose it any more."""
    return f"\n  {stage}:\n" in (workspace.path / WHOLE).read_text(encoding="utf-8")


@contextlib.contextmanager
def _dvc_waits(workspace: Workspace) -> Iterator[None]:
    """Hold the lock without which no DVC process of the workspace touches ``dvc.lock``; those that run a stage's command meanwhile do not mind."""
    with (workspace.path / ".dvc" / "tmp" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as zc.lockfile does, which is DVC's
        yield


def _mend(workspace: Workspace, *, alone: bool) -> None:
    """Keep a copy of ``dvc.lock`` where it is whole, else put the copy back; `alone` where nobody else has DVC at work in the workspace."""
    lock, whole, claims = (workspace.path / name for name in ("dvc.lock", WHOLE, ".dvc/tmp/rwlock"))
    if claims.exists() and (alone or not _is_json(claims)):  # of the dead, whose number another process may have by now
        claims.unlink()
    text = lock.read_text(encoding="utf-8", errors="replace") if lock.exists() else ""
    if not whole.exists() and not text.endswith(_END):  # nobody has worked here yet
        text = (text or "schema: '2.0'\nstages: {}\n").rstrip("\n") + _END
        _write(lock, text)
    if text.endswith(_END):
        _write(whole, text)
    else:
        log.warning("%s is torn, since DVC was killed while it wrote: putting the last whole one back", lock)
        _write(lock, whole.read_text(encoding="utf-8"))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def record_run(workspace: Workspace, state: str) -> str | None:
    """Commit what the run was and made to its ref; return the commit.

    That is ``run.yaml``, ``dvc.lock``, ``data/**/*.dvc``, and what stages outside DVC hand on to the next.

    Its ``dvc.yaml`` keeps the stages that the run reached, so that ``dvc checkout`` asks for these and no others.
    None where the run was never pinned. Calling it again with nothing new changes nothing.
    """
    if not _is_pinned(workspace):
        log.warning("%s was never pinned; there is nothing to record", workspace.path)
        return None
    with _dvc_waits(workspace):
        _mend(workspace, alone=False)
    files = ["run.yaml", "dvc.lock", *_beside_dvc(workspace.path)]
    with tempfile.TemporaryDirectory(prefix="nightshift-index-") as directory:
        index = {"GIT_INDEX_FILE": f"{directory}/index"}
        _git("read-tree", workspace.commit, cwd=workspace.path, env=index)
        _git("add", "--force", "--", *(file for file in files if (workspace.path / file).exists()), cwd=workspace.path, env=index)
        graph = Path(directory) / "dvc.yaml"
        graph.write_text(_reached_graph(workspace.path), encoding="utf-8")
        blob = _git("hash-object", "-w", "--", str(graph), cwd=workspace.path)
        _git("update-index", "--cacheinfo", f"100644,{blob},dvc.yaml", cwd=workspace.path, env=index)
        tree = _git("write-tree", cwd=workspace.path, env=index)
    before = _commit_of(workspace.ref)
    message = (
        f"{workspace.dag_id}: {workspace.run_id} ({state})\n\nDag-Id: {workspace.dag_id}\nRun-Id: {workspace.run_id}\nState: {state}\n"
        f"Snapshot: {str(workspace.snapshot).lower()}\n"
    )
    if before:
        content, _, words = _git("show", "--no-patch", "--format=%T%n%P%n%n%B", before).partition("\n\n")
        # What a finished run recorded stays as it is while it runs again and makes the same.
        if content == f"{tree}\n{workspace.commit}" and (state == "running" or words.strip() == message.strip()):
            return before
    commit = _git("commit-tree", tree, "-p", workspace.commit, "-m", message)
    _git("update-ref", "-m", f"close {workspace.run_id}", workspace.ref, commit)
    log.info("recorded as %s (%s)", workspace.ref, commit)
    return commit


def _beside_dvc(path: Path) -> list[str]:
    """What of the workspace at `path` is recorded beside ``run.yaml`` and ``dvc.lock``."""
    patterns = ("data/**/*.dvc", *_HANDED_ON)
    return sorted(str(file.relative_to(path)) for pattern in patterns for file in path.glob(pattern))


def _reached_graph(path: Path) -> str:
    """``dvc.yaml`` of the workspace at `path` with the stages (and shards) of its ``dvc.lock`` alone, without metrics and plots."""
    import yaml  # not at module level: the scheduler imports this module

    graph = yaml.safe_load((path / "dvc.yaml").read_text(encoding="utf-8"))
    lock = path / "dvc.lock"
    reached = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.exists() else {}
    kept = {}
    for name, stage in graph["stages"].items():
        if shards := sorted(each.partition("@")[2] for each in reached if each.startswith(f"{name}@")):
            kept[name] = {**stage, "matrix": dict.fromkeys(stage["matrix"], shards)}  # of one dimension: more could not be told apart
        elif name in reached:
            kept[name] = stage
    return yaml.safe_dump({"vars": graph.get("vars", []), "stages": kept}, sort_keys=False)


def is_recorded(workspace: Workspace) -> bool:
    """Whether this run was closed before."""
    return bool(_commit_of(workspace.ref))


def remove_workspace(path: Path) -> None:
    """Remove the worktree at `path`; a missing one is no error."""
    with _worktree_lock():
        _remove(path)


def _remove(path: Path) -> None:
    if path.exists():  # out of sight first: what is killed halfway must not look whole
        (path / _MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)
    _git("worktree", "prune")


def collect_workspaces(retention_days: float) -> list[Path]:
    """Remove workspaces that failed runs left behind and nobody has touched for `retention_days`; return their paths."""
    oldest = time.time() - retention_days * 86_400
    collected = []
    for path in sorted((home() / "workspaces").glob("*/*")):
        with _worktree_lock():  # nobody makes or removes one between the look and the removal
            if (touched := _last_touched(path)) is None or touched >= oldest:
                continue
            log.info("collecting the workspace %s of a failed run, untouched for %s days", path, retention_days)
            _remove(path)
        collected.append(path)
    return collected


def repair_workspaces() -> None:
    """Make the workspaces usable after they or the repository were moved: git and DVC keep absolute paths of both.

    A workspace that git has forgotten meanwhile is removed: the ref of its run restores it. Those of another repository are left alone.
    """
    paths = [path for path in sorted((home() / "workspaces").glob("*/*")) if (path / ".git").is_file()]
    if not paths:
        return
    common = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    with _worktree_lock():
        _git("worktree", "repair", *map(str, paths), check=False)  # fails for one that is forgotten, and repairs the others
    for path in paths:
        repository = _git(*common, cwd=path, check=False)
        if repository == _git(*common):
            _configure_dvc(path)
        elif not repository:
            log.warning("%s belongs to no repository any more: removing it", path)
            shutil.rmtree(path)


def _last_touched(path: Path) -> float | None:
    """When something was last done in a workspace (UNIX time), None where it is gone."""
    times = []
    for file in (path, path / _MARKER, path / "dvc.lock"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            times.append(file.stat().st_mtime)
    return max(times, default=None)


def has_remote(path: Path) -> bool:
    """Whether the repository or workspace at `path` has a default DVC remote to push to."""
    return any("remote" in _read_config(path / ".dvc" / name).get("core", {}) for name in ("config", "config.local"))


def _commit_of(ref: str) -> str:
    return _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)


def _is_pinned(workspace: Workspace) -> bool:
    import yaml  # not at module level: the scheduler imports this module

    run = yaml.safe_load((workspace.path / "run.yaml").read_text(encoding="utf-8"))
    return isinstance(run, dict) and run.get("run_id") == workspace.run_id


def _add_worktree(path: Path, commit: str) -> None:
    with _worktree_lock():
        if path.exists():
            log.warning("%s is what a killed attempt left: rebuilding it", path)
            shutil.rmtree(path)
        _git("worktree", "prune")
        path.parent.mkdir(parents=True, exist_ok=True)
        _git("worktree", "add", "--detach", "--quiet", str(path), commit)


@contextlib.contextmanager
def _worktree_lock() -> Iterator[None]:
    """One process at a time adds or prunes: git's own `prune` may remove the half-written entry of another `add`."""
    common = Path(_git("rev-parse", "--path-format=absolute", "--git-common-dir"))
    with (common / "nightshift-worktrees.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the kernel however this process ends
        yield


def _configure_dvc(path: Path) -> None:
    """Write ``.dvc/config.local``: the repository's own local settings (remotes, credentials) with the shared cache on top."""
    settings = _read_config(REPOSITORY / ".dvc" / "config.local")
    settings.setdefault("core", {}).update(
        {"analytics": "false", "hardlink_lock": "false"}
    )  # `attempt` holds the lock that DVC has by default
    for section in settings:
        if "remote" in section:  # what comes from a remote is compared with its digest
            settings[section].setdefault("verify", "true")
    settings.setdefault("cache", {}).update({"dir": str(cache()), "type": "reflink,hardlink,copy"})
    lines = [
        line
        for section, values in settings.items()
        for line in (f"[{section}]", *(f"    {key} = {value}" for key, value in values.items()))
    ]
    target = path / ".dvc" / "config.local"
    target.touch(mode=0o600)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def cache() -> Path:
    """The directory of the DVC cache that all workspaces share."""
    return Path(os.environ.get("NIGHTSHIFT_DVC_CACHE", REPOSITORY / ".dvc" / "cache"))


def _read_config(path: Path) -> dict[str, dict[str, str]]:
    """A DVC configuration file as ``{section: {key: value}}``; empty where there is none."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path, encoding="utf-8")
    return {section: dict(parser[section]) for section in parser.sections()}


def _dirty_files() -> list[str]:
    """Paths that differ from HEAD: tracked changes, and untracked files that are not ignored."""
    entries = iter(_git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", strip=False).split("\0"))
    return [entry[3:] for entry in entries if entry]


def _snapshot(head: str, dirty: list[str]) -> str:
    """Commit the working tree on top of `head` without touching HEAD, the index or a file; the same tree gives the same commit."""
    for name in dirty:
        file = REPOSITORY / name
        if file.is_file() and file.stat().st_size > _LARGEST_UNTRACKED:
            raise RunRefusedError(f"{name} is not committed and has {file.stat().st_size:,} bytes; track it with `dvc add` or ignore it")
    date = _git("show", "--no-patch", "--format=%cI", head)
    with tempfile.TemporaryDirectory(prefix="nightshift-index-") as directory:
        index = {"GIT_INDEX_FILE": f"{directory}/index"}
        _git("read-tree", head, env=index)
        _git("add", "--all", "--", ".", env=index)
        tree = _git("write-tree", env=index)
    message = "Snapshot of the working tree\n\n" + "\n".join(dirty[:200])
    return _git("commit-tree", tree, "-p", head, "-m", message, env={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date})


def _git(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True, strip: bool = True) -> str:
    """Run git; return its output. Git's identity and locale are supplied, and nothing of a caller's GIT_* variables leaks in."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    identity = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _IDENTITY.items()}
    done = subprocess.run(
        ["git", "-c", "gc.auto=0", "-c", "core.hooksPath=/dev/null", *arguments],
        cwd=cwd or REPOSITORY,
        env={**clean, **identity, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8", **(env or {})},
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    if check and done.returncode != 0:
        raise OSError(f"git {' '.join(arguments[:3])} failed with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip() if strip else done.stdout
