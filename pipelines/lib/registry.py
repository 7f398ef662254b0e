"""MLflow as Nightshift uses it: where it is, how a model file comes out of it, and its aliases as the ledger's projection.

MLflow takes seconds to import, so it is imported where it is needed; a nightly run that reads a file store never needs it.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import Field

from pipelines.lib import home
from pipelines.lib.digest import sha256_of
from pipelines.lib.errors import ModelError, TransientError
from pipelines.lib.ledger import Entry, Ledger
from pipelines.lib.params import Section, load_section

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


def project_aliases(client: "MlflowClient", ledger: Ledger, name: str) -> None:
    """Set the aliases `champion` and `previous` of model `name` to what the ledger says; safe to repeat, repairs after a crash."""
    for alias, entry in (("champion", ledger.champion(name)), ("previous", ledger.previous(name))):
        if entry:
            client.set_registered_model_alias(name, alias, entry.version)
        elif alias in client.get_registered_model(name).aliases:
            client.delete_registered_model_alias(name, alias)
