"""MLflow as Nightshift uses it: where it is, how a model file comes out of it, and its aliases as the ledger's projection.

MLflow takes seconds to import, so it is imported where it is needed; a nightly run that reads a file store never needs it.
"""

import datetime as dt
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import Field

from pipelines.lib import home
from pipelines.lib.digest import sha256_of
from pipelines.lib.errors import ModelError, TransientError
from pipelines.lib.ledger import Entry, Ledger
from pipelines.lib.params import Section, load_section
from pipelines.lib.partition import parse_partition

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Registry(Section):
    """Section ``registry``: the MLflow `experiment` and the `name` under which versions are registered."""

    experiment: str = Field(min_length=1)
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")


class Registered(Section):
    """A registered version: what `register` hands to `promote`."""

    name: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    model_uri: str


def load_registry() -> Registry:
    """Section ``registry`` of this workspace's ``params.yaml``."""
    return load_section("registry", Registry)


def connect() -> "MlflowClient":
    """A client of this installation's MLflow, which does not phone home. Raises `TransientError` when it does not answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = home.tracking_uri()
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise TransientError(f"MLflow at {uri} did not answer ({error}); check the server or database and try again") from error
    return client


def experiment_id(client: "MlflowClient", name: str) -> str:
    """The id of experiment `name`, made on first use."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    location = None if home.tracking_uri().startswith("http") else home.artifact_root()  # a server knows its own place
    return str(client.create_experiment(name, artifact_location=location))


def fetch(version: Entry | Registered, target: Path) -> None:
    """Copy the model file of `version` to `target` and verify its digest.

    Raises `ModelError` when the file is missing or differs from what was registered, `TransientError` when a remote store does
    not answer; in both cases there is nothing at `target`.
    """
    what, uri = f"{version.name} version {version.version}", version.model_uri
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    location = urlsplit(uri)
    if location.scheme in ("", "file"):
        path = uri if not location.scheme else url2pathname(location.path)
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise ModelError(f"{what}: cannot read {uri} ({error.strerror})") from error
    else:
        _download(what, uri, target)
    found = sha256_of(target)
    if found != version.sha256:
        target.unlink()
        raise ModelError(
            f"{what}: {uri} has sha256 {found}, but {version.sha256} was registered; the file was altered or torn, do not promote it"
        )


def _download(what: str, uri: str, target: Path) -> None:
    """From MLflow's server or an object store. Whether the file is there is asked first: only its absence is told alike by all stores."""
    connect()
    import mlflow

    parent, _, file = uri.rpartition("/")
    try:
        exists = any(found.path.rpartition("/")[2] == file for found in mlflow.artifacts.list_artifacts(parent))
        if exists:
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                shutil.move(mlflow.artifacts.download_artifacts(uri, dst_path=scratch), target)
    except Exception as error:  # each store raises errors of its own
        raise TransientError(f"{what}: {uri} did not come ({error}); check the store and try again") from error
    if not exists:
        raise ModelError(f"{what}: {uri} does not exist")


def make_champion(
    ledger: Ledger,
    version: Entry | Registered,
    before: Entry | None,
    *,
    action: Literal["promote", "rollback"],
    live_from: str,
    actor: str,
    reason: str,
    evidence: dict[str, Any] | None = None,
) -> Entry:
    """Append `version` to the ledger as the champion that follows the entry `before`, which the caller has seen to be the last one.

    The only way to move a champion. Returns the entry; raises `LedgerConflict` where the ledger has moved on since.
    """
    return ledger.append(
        Entry(
            name=version.name,
            sequence=before.sequence + 1 if before else 1,
            action=action,
            version=version.version,
            sha256=version.sha256,
            model_uri=version.model_uri,
            from_version=before.version if before else None,
            live_from=live_from,
            actor=actor,
            reason=reason,
            evidence=evidence or {},
        )
    )


def next_night(champion: Entry) -> str:
    """The first partition that a version can score which becomes champion by hand: the one after the newest that is published.

    Where nothing is published it is the champion's own first one.
    """
    from pipelines.lib.nights import published_nights

    newest = published_nights(champion.name, until="9999-12-30", count=1)
    return day_after(parse_partition(newest[0].partition)) if newest else champion.live_from


def day_after(date: dt.date) -> str:
    """The partition that follows `date`."""
    return (date + dt.timedelta(days=1)).isoformat()


def project_aliases(client: "MlflowClient", ledger: Ledger, name: str) -> None:
    """Set the aliases `champion` and `previous` of model `name` to what the ledger says; safe to repeat, repairs after a crash.

    A `challenger` that has become champion is none any more. Where the ledger moves meanwhile, it is projected again: whoever writes last has
    also read last, so that a slow process cannot leave an older state behind.
    """
    while True:
        champion, previous = ledger.champion(name), ledger.previous(name)
        present = {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
        for alias, entry in (("champion", champion), ("previous", previous)):
            if entry and present.get(alias) != entry.version:
                client.set_registered_model_alias(name, alias, entry.version)
            elif not entry and alias in present:
                client.delete_registered_model_alias(name, alias)
        if champion and present.get("challenger") == champion.version:
            client.delete_registered_model_alias(name, "challenger")
        if ledger.champion(name) == champion:
            return
