"""Compare the files that DVC keeps with the digests that were recorded for them.

DVC trusts its cache: it links or copies a write-protected object into a workspace without reading its bytes. So code that uses a file from the cache or
a remote compares the file with the md5 in ``dvc.lock``. Directories are compared file by file, with the listing that DVC keeps of them.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.lib.core import home
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.yaml_text import parse_yaml

LOCK_VARIABLE = "NIGHTSHIFT_RECORDED"
"""Environment variable that Airflow's tasks set: the copy of ``dvc.lock`` whose digests the inputs of a stage must have."""

DVC_STAGE, DVC_ROOT = "DVC_STAGE", "DVC_ROOT"
"""Environment variables that DVC sets for the command of a stage: the stage's address, and the repository whose ``dvc.lock`` DVC writes
after each stage.
"""


@dataclass(frozen=True)
class Output:
    """An output in ``dvc.lock``: the `stage` that made it, its `path` and `md5`, which ends in ``.dir`` for a directory."""

    stage: str
    path: Path
    md5: str


def outputs(lock: Path) -> list[Output]:
    """Return every output that `lock` records; none if there is no lock yet."""
    try:
        content = parse_yaml(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    stages: dict[str, dict[str, Any]] = (content or {}).get("stages", {})
    return [
        Output(name, Path(out["path"]), str(out["md5"])) for name, made in stages.items() for out in made.get("outs", ()) if "md5" in out
    ]


def recorded_lock() -> Path | None:
    """Return the lock whose digests the inputs of this process must have; None if neither Airflow nor DVC started the process."""
    if lock := os.environ.get(LOCK_VARIABLE):
        return Path(lock)
    return Path(os.environ.get(DVC_ROOT, "."), "dvc.lock") if os.environ.get(DVC_STAGE) else None


def require_recorded(lock: Path, stage: str, paths: Iterable[Path], root: Path = Path()) -> None:
    """Raise `DataError` if one of `paths`, what `stage` reads, is not what the stages before it recorded in `lock`. Paths are below `root`.

    A path that no other stage of `lock` made is left alone. So is what does not exist: the stage itself says that better.
    """
    wanted = {Path(os.path.normpath(path)) for path in paths}
    for made in outputs(lock):
        if made.stage.partition("@")[0] == stage.partition("@")[0]:
            continue
        inside = [path for path in wanted if path != made.path and path.is_relative_to(made.path)]
        whole = any(made.path.is_relative_to(path) for path in wanted)
        if (whole or inside) and (root / made.path).exists():
            require_md5(
                root / made.path, made.md5, made.stage, only=None if whole else {str(path.relative_to(made.path)) for path in inside}
            )


def require_md5(path: Path, md5: str, made_by: str, only: set[str] | None = None) -> None:
    """Raise `DataError` if the file or directory at `path` (of it the files `only`) has not the `md5` that was recorded for it."""
    found = list(altered(path, md5, only))
    if found:
        shown = ", ".join(f"{file} has md5 {present}, recorded was {recorded}" for file, present, recorded in found[:3])
        objects = " ".join(str(cache_path(recorded)) for _, _, recorded in found[:20])
        again = (
            f"run dvc repro {made_by}. If you changed the file on purpose, record your change instead: dvc commit --force {made_by}"
            if os.environ.get(DVC_STAGE) and not os.environ.get(LOCK_VARIABLE)
            else f"clear {made_by}: it takes a whole copy from the remote or makes the file again"
        )
        raise DataError(
            f"what {made_by} made was altered on disk or in DVC's cache: {shown}{', …' if len(found) > 3 else ''}. Check the disk, remove the copies "
            f"(rm -rf {path} {objects}), then {again}"
        )


def altered(path: Path, md5: str, only: set[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """Yield each file at or below `path` (of a directory those of `only`) that is not what was recorded: its name, the md5 that was
    found, the one that was recorded.
    """
    if not md5.endswith(".dir"):
        found = md5_of(path) if path.is_file() else "a directory's"
        if found != md5:
            yield path.name, found, md5
        return
    try:
        listed = listing(md5, cache_path(md5).read_bytes())
    except OSError:
        listed = None
    if listed is None:  # the listing itself is gone or altered: it follows from the files
        found = _tree_md5(path)
        if found != md5:
            yield path.name, found, md5
        return
    for name, recorded in sorted(listed.items()):
        if only is None or name in only:
            found = md5_of(path / name) if (path / name).is_file() else "none, since it is missing,"
            if found != recorded:
                yield f"{path.name}/{name}", found, recorded


def cache_path(md5: str) -> Path:
    """Return where DVC's shared cache keeps the object `md5`."""
    return cache_root() / "files" / "md5" / md5[:2] / md5[2:]


def cache_root() -> Path:
    """Return the directory of the cache that all workspaces share."""
    repository = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", home.REPOSITORY))
    return Path(os.environ.get("NIGHTSHIFT_DVC_CACHE", repository / ".dvc" / "cache"))


def md5_of(path: Path) -> str:
    """Return the md5 of the file at `path`, as DVC counts it, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def listing(md5: str, content: bytes) -> dict[str, str] | None:
    """Return the files of a directory with their md5, from the `content` of its object; None if that is not the one of `md5`."""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
        return None
    return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}


def _tree_md5(path: Path) -> str:
    """Return DVC's digest of the directory at `path`: that of the listing of its files."""
    files = sorted((file.relative_to(path).parts, md5_of(file)) for file in path.rglob("*") if file.is_file())
    text = json.dumps([{"md5": md5, "relpath": "/".join(parts)} for parts, md5 in files], sort_keys=True)
    return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"
