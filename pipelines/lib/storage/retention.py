"""The objects of DVC that must be kept: those that something still refers to.

An object is kept if a branch, a tag, the working tree or a workspace refers to it, or a run that was recorded within the age limit. It is also
kept, at any age, if the run or commit of a registered version, a published row or a generation of the index refers to it. `dvc gc` knows
branches and tags only.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lib.core import home, kept
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.storage.object_store import Object
from pipelines.lib.storage.rebuild import git

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MD5 = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")
_RUN = re.compile(r"refs/runs/[^\s'\"]+")
_OWN_RUN = re.compile(r"^run_ref: ['\"]?(refs/runs/[^\s'\"]+)", re.MULTILINE)
_LOCKS = ("dvc.lock", "*/dvc.lock", "*.dvc")
_AT_ONCE = 100  # commits for one command line


@dataclass(frozen=True)
class Space:
    """The content of a place: objects and bytes in all, and of these, those that nothing names and the age limit does not cover, `free`."""

    objects: int
    size: int
    free: tuple[Object, ...]

    @property
    def free_size(self) -> int:
        """Bytes that would be freed."""
        return sum(one.size for one in self.free)


def kept_objects(repository: Path, named: Callable[[], Iterable[str]], oldest: float, read: Callable[[str], bytes | None]) -> set[str]:
    """Return the md5 of every object that must be kept; `named` gives the refs and commits that are kept at any age.

    `oldest` is the UNIX time before which a recorded run is no longer kept for its age. `read` gives the content of an object, None if it is gone.
    Workspaces are looked at first: the rows and refs of a run that closes in between are seen afterwards. Raises `DataError` if
    the listing of a directory is damaged, `ConfigError` where a ref that is named is not in the repository.
    """
    found, running, open_runs = _of_workspaces(repository)
    asked = set(named())
    wanted = asked | running  # of these the run's own, which may not be recorded yet
    refs = [
        line.split(" ")
        for line in git(repository, "for-each-ref", "--format=%(refname) %(objectname) %(committerdate:unix)", "refs/runs").splitlines()
    ]
    if lost := sorted(name for name in asked - open_runs - {ref for ref, _, _ in refs} if name.startswith("refs/")):
        raise ConfigError(
            f"{len(lost)} runs that rows, versions or generations name are not recorded in {repository}: {', '.join(lost[:3])}. Nobody can tell which files they "
            "need, so nothing was freed; fetch refs/runs/* from where they ran"
        )
    commits = {commit for ref, commit, moment in refs if float(moment) >= oldest or ref in wanted or commit in wanted}
    commits |= {name for name in wanted if not name.startswith("refs/") and _exists(repository, name)}
    commits |= set(git(repository, "rev-list", "--branches", "--tags", "--remotes", "HEAD").splitlines())
    found |= _of_commits(repository, sorted(commits))
    return found | _inside(found, read)


def recorded_dags(repository: Path) -> set[str]:
    """Return the ids of the DAGs that have recorded runs."""
    return {name.split("/")[2] for name in git(repository, "for-each-ref", "--format=%(refname)", "refs/runs").splitlines()}


def published_runs(urls: Iterable[str]) -> set[str]:
    """Return the refs of runs that the rows of the tables at `urls` name, as they are now. Raises `DataError` for a file that was
    damaged.
    """
    import pyarrow.dataset as ds
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    verified = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    found: set[str] = set()
    for url in urls:
        try:
            rows = DeltaTable(url).to_pyarrow_dataset()
        except TableNotFoundError:
            continue
        try:
            for batch in rows.to_batches(columns=["run_ref"], fragment_scan_options=verified):
                found.update(str(ref) for ref in pc.unique(batch.column("run_ref").cast(pa.string())).to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{url} cannot be read to its end ({str(error).splitlines()[0]}), so nobody can tell which runs its rows name, and nothing was freed; "
                "check the store, publish a damaged night again, then free space again"
            ) from None
    return found


def generation_runs(root: Path) -> set[str]:
    """Return the refs of runs that the manifests of all generations under `root` name. Raises `DataError` for a manifest that cannot be
    read.
    """
    found: set[str] = set()
    for manifest in root.glob("*/generations/*/manifest.json"):
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:  # collected since it was listed
            continue
        except ValueError as error:
            raise DataError(
                f"{manifest} cannot be read ({error}), so nobody can tell which run made it; roll back or rebuild first"
            ) from None
        found.update(filter(None, (content.get("run_ref"), content.get("git_commit"))))
    return found


def registered_runs(client: "MlflowClient") -> dict[tuple[str, str], str]:
    """Map (name, version) to the ref or commit of the run that made it, for every version in MLflow that names one."""
    found: dict[tuple[str, str], str] = {}
    token = None
    while True:
        page = client.search_model_versions(max_results=1000, page_token=token)
        found |= {(version.name, str(version.version)): version.tags["run_ref"] for version in page if version.tags.get("run_ref")}
        token = page.token
        if not token:
            return found


def survey(objects: Iterable[Object], keep: set[str], oldest: float) -> Space:
    """Return what `objects` amount to, and which of them may go: those not in `keep` that were last written before `oldest` (UNIX time)."""
    listed = list(objects)
    return Space(
        len(listed), sum(one.size for one in listed), tuple(one for one in listed if one.md5 not in keep and one.modified < oldest)
    )


def _of_workspaces(repository: Path) -> tuple[set[str], set[str], set[str]]:
    """Return the objects that working trees name now, committed or not, the runs that `run.yaml` of each tree names, and of these the tree's own."""
    trees = [
        Path(line.removeprefix("worktree "))
        for line in git(repository, "worktree", "list", "--porcelain").splitlines()
        if line.startswith("worktree ")
    ]
    objects: set[str] = set()
    runs: set[str] = set()
    own: set[str] = set()
    for tree in {repository, *trees, *(home.home() / "workspaces").glob("*/*")}:
        for file in [tree / "dvc.lock", tree / ".dvc/tmp/dvc.lock.whole", *tree.glob("data/**/*.dvc")]:
            objects.update(_MD5.findall(_text(file)))
        pinned = _text(tree / "run.yaml")
        runs.update(_RUN.findall(pinned))
        own.update(_OWN_RUN.findall(pinned))
    return objects, runs, own


def _of_commits(repository: Path, commits: list[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(commits), _AT_ONCE):
        chosen = commits[start : start + _AT_ONCE]
        try:
            output = git(repository, "grep", "-I", "-h", "-o", "-w", "-E", r"[0-9a-f]{32}(\.dir)?", *chosen, "--", *_LOCKS)
        except subprocess.CalledProcessError as error:
            if error.returncode != 1 or error.stderr.strip():  # 1: nothing was found
                raise ConfigError(f"git grep failed in {repository}: {error.stderr.strip()}; nothing was freed") from None
            continue
        found.update(_MD5.findall(output))
    return found


def _inside(objects: set[str], read: Callable[[str], bytes | None]) -> set[str]:
    """Return the files of the directories among `objects`."""
    found: set[str] = set()
    for md5 in sorted(one for one in objects if one.endswith(".dir")):
        content = read(md5)
        if content is None:  # without its listing nobody can use the directory
            continue
        listed = kept.listing(md5, content)
        if listed is None:
            raise DataError(
                f"the listing {kept.cache_path(md5)} of a directory was altered, so its files are unknown; nothing was freed. Check the disk"
            )
        found.update(listed.values())
    return found


def _exists(repository: Path, commit: str) -> bool:
    try:
        git(repository, "cat-file", "-e", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError:
        return False
    return True


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
