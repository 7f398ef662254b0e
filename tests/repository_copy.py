"""A copy of this repository as it is on disk, changes that are not committed included, to change or to check without touching it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_repository(target: Path) -> Path:
    """Copy every file that git knows, or would add, to the new directory `target`, and commit them there. Returns `target`."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in (one for one in listed if one and (ROOT / one).is_file()):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    git(target, "init", "--quiet", "--initial-branch", "main")
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "--message", "a copy")
    return target


def git(where: Path, *arguments: str) -> str:
    """Run git in `where`, as somebody with an identity; return its output."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@localhost"]
    return subprocess.run(["git", *identity, *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


def run_in(copy: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy with this environment's programs, as a person would: nothing of this test run reaches it."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTEST", "NIGHTSHIFT", "AIRFLOW", "MLFLOW_TRACKING", "GIT_", "MAKE", "MFLAGS"))
    }
    path = {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "PYTHONPATH": f"{copy}:{copy / 'plugins'}", "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=copy, env={**kept, **path, **environment}, capture_output=True, text=True, check=False)
