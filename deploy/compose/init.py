"""The first container of docker-compose.yaml, run to its end at every start; each step can be repeated.

1. The buckets exist.
2. The repository, from which every run gets its worktree, stands on the shared volume at the image's commit. It keeps the run
   refs, so it is brought forward and never replaced; a change made there by hand is refused, not overwritten.
3. DVC's remote is known to it; credentials stay in the environment.
4. Airflow's database has this version's schema, and the pools that use cases declare.
"""

import os
import subprocess
import sys
from pathlib import Path

IMAGE = Path("/opt/nightshift")


def make_buckets(names: list[str]) -> None:
    """Make the S3 buckets that do not exist yet."""
    import s3fs  # type: ignore[import-untyped]  # it has no types

    store = s3fs.S3FileSystem()
    for name in names:
        if not store.exists(name):
            store.mkdir(name)
            print(f"made bucket {name}")


def prepare_repository(source: Path, target: Path) -> str:
    """Bring the clone at `target` to the commit of `source`, or make it; return the commit.

    Raises `RuntimeError` when `target` holds uncommitted changes.
    """
    commit = git("rev-parse", "HEAD", cwd=source)
    if not (target / ".git").exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        git("clone", "--quiet", "--no-hardlinks", "--origin", "image", str(source), str(target), cwd=source)
    changed = git("status", "--porcelain", cwd=target)
    if changed:
        raise RuntimeError(
            f"{target} holds changes that no commit has; commit them in the repository and build the image again:\n{changed}"
        )
    git("fetch", "--quiet", "--no-tags", str(source), "HEAD", cwd=target)
    git("checkout", "--quiet", "--detach", commit, cwd=target)
    print(f"{target} is at commit {commit}")
    return commit


def set_remote(repository: Path, url: str) -> None:
    """Make `url` the default DVC remote of `repository`, in its local settings."""
    dvc = [sys.executable, "-m", "dvc", "remote", "add", "--local", "--force", "--default", "production", url]
    subprocess.run(dvc, cwd=repository, check=True)


def make_pools(repository: Path) -> None:
    """Give each pool that a use case of `repository` declares its slots: a task whose pool does not exist would wait for ever."""
    from pipelines.lib.core.pools import declared_pools

    for name, slots in declared_pools(repository).items():
        command = [sys.executable, "-m", "airflow", "pools", "set", name, str(slots), f"The tasks of the use case {name}"]
        subprocess.run(command, check=True)


def git(*arguments: str, cwd: Path) -> str:
    """Run git and return its output; its messages go to the log. Raise `subprocess.CalledProcessError`."""
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> int:
    """Run all four steps."""
    make_buckets(os.environ["NIGHTSHIFT_BUCKETS"].split())
    repository = Path(os.environ["NIGHTSHIFT_REPOSITORY"])
    prepare_repository(IMAGE, repository)
    set_remote(repository, os.environ["NIGHTSHIFT_DVC_REMOTE"])
    for folder in (Path(os.environ["NIGHTSHIFT_HOME"]), repository.parent / "cache", repository.parent / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True)
    make_pools(repository)
    return 0


if __name__ == "__main__":
    sys.exit(main())
