"""The git repository of the installation: the commit that a run is pinned to, and git itself."""

import logging
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nightshift_airflow import places
from nightshift_airflow.refusals import RunRefusedError

log = logging.getLogger(__name__)

_LARGEST_UNTRACKED = 50 * 2**20  # bytes; a snapshot is a git commit, and data does not belong into git
_IDENTITY = {"NAME": "Nightshift", "EMAIL": "nightshift@localhost"}


def pin_commit() -> tuple[str, bool]:
    """Return the commit that a run opened now is pinned to, and whether it is a snapshot of a dirty working tree.

    The embedded profile commits uncommitted changes next to the branch; production refuses it.
    """
    head = git("rev-parse", "--verify", "HEAD^{commit}")
    dirty = _dirty_files()
    if not dirty:
        return head, False
    listed = ", ".join(dirty[:20]) + (f" and {len(dirty) - 20} more" if len(dirty) > 20 else "")
    if os.environ.get("NIGHTSHIFT_MODE") == "production":
        raise RunRefusedError(
            f"the working tree differs from commit {head[:12]} in {listed}; production runs commits only: commit or revert"
        )
    commit = _snapshot(head, dirty)
    log.warning("the working tree differs from commit %s in %s: this run is pinned to the snapshot %s of it", head[:12], listed, commit)
    return commit, True


def commit_of(ref: str) -> str:
    return git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)


def _dirty_files() -> list[str]:
    """Return the paths that differ from HEAD: tracked changes, and untracked files that are not ignored."""
    entries = iter(git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", strip=False).split("\0"))
    return [entry[3:] for entry in entries if entry]


def _snapshot(head: str, dirty: list[str]) -> str:
    """Commit the working tree on top of `head` without touching HEAD, the index or a file; the same tree gives the same commit."""
    for name in dirty:
        file = places.REPOSITORY / name
        if file.is_file() and file.stat().st_size > _LARGEST_UNTRACKED:
            raise RunRefusedError(f"{name} is not committed and has {file.stat().st_size:,} bytes; track it with `dvc add` or ignore it")
    date = git("show", "--no-patch", "--format=%cI", head)
    with tempfile.TemporaryDirectory(prefix="nightshift-index-") as directory:
        index = {"GIT_INDEX_FILE": f"{directory}/index"}
        git("read-tree", head, env=index)
        git("add", "--all", "--", ".", env=index)
        tree = git("write-tree", env=index)
    message = "Snapshot of the working tree\n\n" + "\n".join(dirty[:200])
    return git("commit-tree", tree, "-p", head, "-m", message, env={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date})


def git(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True, strip: bool = True) -> str:
    """Run git; return its output. Git's identity and locale are supplied, and nothing of a caller's GIT_* variables leaks in."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    identity = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _IDENTITY.items()}
    done = subprocess.run(
        ["git", "-c", "gc.auto=0", "-c", "core.hooksPath=/dev/null", *arguments],
        cwd=cwd or places.REPOSITORY,
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
