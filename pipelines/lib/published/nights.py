"""Nights that were published, and what their runs have left: monitoring and shadow scoring look at them again.

Every published row names the git ref that records its run, and the ref gives the run's files back, bit for bit, from DVC's cache or remote.
So nothing but scores has to be published, and nobody computes a night's features twice.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.kept import cache_path, md5_of
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.published.store import scores_url

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

FEATURES = "data/features/batch.parquet"
SCORES = "data/scores/scores.parquet"


@dataclass(frozen=True)
class PublishedNight:
    """A night as it is published: which run made it, the version that scored its `rows`, and the `publication` (see `publications`)."""

    partition: str
    run_ref: str
    run_id: str
    model_name: str
    model_version: str
    model_sha256: str
    degraded: bool
    rows: int
    publication: str


def published_nights(name: str, *, until: str, count: int, version: str | None = None, url: str | None = None) -> list[PublishedNight]:
    """Return the last `count` nights up to and with partition `until` that model `name` (and `version`, if given) has scored, oldest first.

    Only one row of each night is read. None if nothing was ever published.
    """
    parse_partition(until)
    url = url or scores_url()
    nights = _files(url)
    found: list[PublishedNight] = []
    for partition in sorted((night for night in nights if night <= until), reverse=True):
        if len(found) == count:
            break
        night = _night(url, partition, nights[partition])
        if night.model_name == name and version in (None, night.model_version):
            found.append(night)
    return found[::-1]


def publications(url: str | None = None) -> dict[str, str]:
    """Return what is published of each night, as a digest of its files. It changes whenever the rows are written again, by a run or by a person.

    Only the log of the table is read. Empty if nothing was ever published.
    """
    return {partition: _publication(files) for partition, files in _files(url or scores_url()).items()}


def _files(url: str) -> dict[str, list[tuple[str, int]]]:
    """Return the files (path, rows) of each night of the table at `url`; none if there is no table."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        files = DeltaTable(url).get_add_actions(flatten=True)
    except TableNotFoundError:
        return {}
    nights: dict[str, list[tuple[str, int]]] = {}
    for partition, path, rows in zip(
        *(files[column].to_pylist() for column in ("partition.partition", "path", "num_records")), strict=True
    ):
        nights.setdefault(partition, []).append((path, rows))
    return nights


def _publication(files: list[tuple[str, int]]) -> str:
    return hashlib.sha256(repr(sorted(files)).encode()).hexdigest()


def published_night(name: str, partition: str, url: str | None = None) -> PublishedNight:
    """Return the published night `partition` of model `name`. Raises `ConfigError` if it is not published."""
    found = published_nights(name, until=partition, count=1, url=url)
    if not found or found[0].partition != partition:
        raise ConfigError(f"{partition} is not published by {name}; score it first (nightly_batch_scoring), then look at it")
    return found[0]


def require_no_future(name: str, partition: str, url: str | None = None) -> None:
    """Raise `ConfigError` if `partition` is after the newest night that `name` has published: its outcomes are not there to learn from.

    Where nothing was published yet, every partition will do.
    """
    newest = published_nights(name, until="9999-12-31", count=1, url=url)
    if newest and newest[0].partition < partition:
        raise ConfigError(
            f"{partition} is after {newest[0].partition}, the newest night that {name} has published; train as of a night that was scored"
        )


def fetch(run_ref: str, path: str, target: Path) -> None:
    """Copy the output `path` of the run recorded at `run_ref` to `target`, from DVC's cache or else from its remote.

    Raises `ConfigError` for a ref that does not exist here, `DataError` where the run made no such file or it is not what the run recorded,
    `TransientError` where the file is neither in the cache nor came from a remote.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import RevError, SCMError

    try:
        with Repo(".") as here:
            cache = {"dir": here.cache.local_cache_dir}
        files = DVCFileSystem(".", rev=run_ref, config={"cache": cache})
        with replacing(target) as temporary:
            files.get_file(path, str(temporary))
            recorded, found = files.info(path).get("dvc_info", {}).get("md5"), md5_of(temporary)
            if recorded and recorded != found:
                raise DataError(
                    f"{path} of {run_ref} has md5 {found}, the run recorded {recorded}: it was altered in DVC's cache or remote. Check the disk and remove "
                    f"the copy (rm -f {cache_path(recorded)}); the next attempt takes it from the remote. Without a remote, score the night again"
                )
    except (RevError, SCMError) as error:
        raise ConfigError(f"{run_ref} is not a recorded run of this repository ({error}); fetch refs/runs/* from where it ran") from None
    except FileNotFoundError:
        raise _absent(files, run_ref, path) from None
    except (DvcException, OSError) as error:
        raise TransientError(f"{path} of {run_ref} did not come ({error}); check DVC's cache and remote, then try again") from error


def _absent(files: "DVCFileSystem", run_ref: str, path: str) -> DataError | TransientError:
    """Return why a file was not found: the run made none, or its file is gone."""
    if files.exists(path):
        return TransientError(
            f"{path} of {run_ref} is in neither DVC's cache nor a remote; `dvc pull` it from where it is, or run the night again"
        )
    return DataError(f"{run_ref} holds no {path}: that run did not get so far")


def _night(url: str, partition: str, files: list[tuple[str, int]]) -> PublishedNight:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    from pipelines.lib.published import night_files
    from pipelines.lib.published.delta_tables import LINEAGE

    store = PyFileSystem(DeltaStorageHandler(url))
    columns = [name for name in LINEAGE.names if name not in ("partition", "scored_at", "git_commit")]
    try:
        with (
            store.open_input_file(files[0][0]) as source,
            pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file,
        ):
            row = next(file.iter_batches(1, columns=columns)).to_pylist()[0]
    except (pa.ArrowException, OSError) as error:
        raise night_files.unreadable(url, partition, error) from None
    return PublishedNight(partition=partition, rows=sum(rows for _, rows in files), publication=_publication(files), **row)
