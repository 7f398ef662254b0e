"""The record of a run: a commit at ``refs/runs/<dag_id>/<slug>`` of what the run was and made."""

import logging
import tempfile
from pathlib import Path

from nightshift_airflow.dvc_lock import keep_whole
from nightshift_airflow.repository import commit_of, git
from nightshift_airflow.workspaces import Workspace

log = logging.getLogger(__name__)

_HANDED_ON = ("data/models/registered.json", *(f"data/reports/{name}.json" for name in ("*/decision", "shadow/report", "approve/report")))
"""Files that stages outside DVC hand on to the next."""


def record_run(workspace: Workspace, state: str) -> str | None:
    """Commit what the run was and made to its ref; return the commit.

    That is ``params.yaml`` (of a use case whose file is short: filled), ``run.yaml``, ``dvc.lock``, ``data/**/*.dvc``, and what stages outside DVC hand on to the next.

    Its ``dvc.yaml`` keeps the stages that the run reached, so that ``dvc checkout`` asks for these and no others.
    None if the run was never pinned. Calling it again with nothing new changes nothing.
    """
    if not _is_pinned(workspace):
        log.warning("%s was never pinned; there is nothing to record", workspace.path)
        return None
    keep_whole(workspace)
    files = ["params.yaml", "run.yaml", "dvc.lock", *_pins_and_files_of_later_runs(workspace.path)]
    with tempfile.TemporaryDirectory(prefix="nightshift-index-") as directory:
        index = {"GIT_INDEX_FILE": f"{directory}/index"}
        git("read-tree", workspace.commit, cwd=workspace.path, env=index)
        git("add", "--force", "--", *(file for file in files if (workspace.path / file).exists()), cwd=workspace.path, env=index)
        graph = Path(directory) / "dvc.yaml"
        graph.write_text(_reached_graph(workspace.path), encoding="utf-8")
        blob = git("hash-object", "-w", "--", str(graph), cwd=workspace.path)
        git("update-index", "--cacheinfo", f"100644,{blob},dvc.yaml", cwd=workspace.path, env=index)
        tree = git("write-tree", cwd=workspace.path, env=index)
    before = commit_of(workspace.ref)
    message = (
        f"{workspace.dag_id}: {workspace.run_id} ({state})\n\nDag-Id: {workspace.dag_id}\nRun-Id: {workspace.run_id}\nState: {state}\n"
        f"Snapshot: {str(workspace.snapshot).lower()}\n"
    )
    if before:
        content, _, words = git("show", "--no-patch", "--format=%T%n%P%n%n%B", before).partition("\n\n")
        # The record of a finished run stays as it is while the run runs again and makes the same.
        if content == f"{tree}\n{workspace.commit}" and (state == "running" or words.strip() == message.strip()):
            return before
    commit = git("commit-tree", tree, "-p", workspace.commit, "-m", message)
    git("update-ref", "-m", f"close {workspace.run_id}", workspace.ref, commit)
    log.info("recorded as %s (%s)", workspace.ref, commit)
    return commit


def _pins_and_files_of_later_runs(path: Path) -> list[str]:
    """Return what of the workspace at `path` is recorded next to ``run.yaml`` and ``dvc.lock``."""
    patterns = ("data/**/*.dvc", *_HANDED_ON)
    return sorted(str(file.relative_to(path)) for pattern in patterns for file in path.glob(pattern))


def _reached_graph(path: Path) -> str:
    """Return ``dvc.yaml`` of the workspace at `path` with the stages (and shards) of its ``dvc.lock`` alone, without metrics and plots."""
    import yaml  # not at module level: the scheduler imports this module

    graph = yaml.safe_load((path / "dvc.yaml").read_text(encoding="utf-8"))
    lock = path / "dvc.lock"
    reached = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.exists() else {}
    kept = {}
    for name, stage in graph["stages"].items():
        if shards := sorted(each.partition("@")[2] for each in reached if each.startswith(f"{name}@")):
            kept[name] = {**stage, "matrix": dict.fromkeys(stage["matrix"], shards)}  # of one dimension: more could not be distinguished
        elif name in reached:
            kept[name] = stage
    return yaml.safe_dump({"vars": graph.get("vars", []), "stages": kept}, sort_keys=False)


def is_recorded(workspace: Workspace) -> bool:
    """Return whether this run was closed before."""
    return bool(commit_of(workspace.ref))


def _is_pinned(workspace: Workspace) -> bool:
    import yaml  # not at module level: the scheduler imports this module

    run = yaml.safe_load((workspace.path / "run.yaml").read_text(encoding="utf-8"))
    return isinstance(run, dict) and run.get("run_id") == workspace.run_id
