"""MLflow as Nightshift uses it: where it is, how a model file comes out of it, and its aliases as the ledger's projection.

MLflow takes seconds to import, so it is imported where it is needed; a nightly run that reads a file store never needs it.
"""

import datetime as dt
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

import sqlalchemy as sa
from pydantic import Field, field_validator

from pipelines.lib.champions.relocation import present_path
from pipelines.lib.core import home
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, GateFailed, ModelError, TransientError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import RunFile
from pipelines.lib.records.journal import Journal
from pipelines.lib.records.ledger import Entry, Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient


NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"

MARKS = ("refused", "refused_by", "rolled_back")
"""Tags of a version that was turned down."""


class Registry(Section):
    """Section ``registry``: the MLflow `experiment`, and the names under which versions of the model and of the `encoder` are
    registered.
    """

    experiment: str = Field(min_length=1)
    name: str
    encoder: str = "encoder"

    @field_validator("name", "encoder")
    @classmethod
    def _in_plain_letters(cls, value: str) -> str:
        if not re.fullmatch(NAME, value):
            raise ValueError(
                f"is {value[:60]!r}; write letters, digits, '_', '.' and '-', a letter or digit first, and at most 100 of them"
            )
        return value


class Registered(Section):
    """A registered version: what `register` hands to `promote`."""

    name: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    model_uri: str


def load_registry() -> Registry:
    """Load section ``registry`` of this workspace's ``params.yaml``."""
    return load_section("registry", Registry)


def connect() -> "MlflowClient":
    """Return a client of this installation's MLflow, which does not phone home. Raises `TransientError` when it does not answer."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = home.tracking_uri()
    if uri.startswith("sqlite:///") and (file := sa.make_url(uri).database):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise TransientError(f"MLflow at {uri} did not answer ({error}); check the server or database and try again") from error
    return client


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of experiment `name`, made on first use."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    location = None if home.tracking_uri().startswith("http") else home.artifact_root()  # a server knows its own place
    return str(client.create_experiment(name, artifact_location=location))


def fetch(version: Entry | Registered, target: Path) -> None:
    """Copy the model file of `version` to `target` and verify its digest.

    Raises `ModelError` when the file is missing or differs from what was registered, `TransientError` when a store does not answer or
    there is no room at `target`; in both cases there is nothing at `target`.
    """
    what, uri = f"{version.name} version {version.version}", version.model_uri
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    location = urlsplit(uri)
    if location.scheme in ("", "file"):
        recorded = uri if not location.scheme else url2pathname(location.path)
        path = present_path(Path(recorded), Path(home.artifact_root()))
        try:
            shutil.copyfile(path, target)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
            raise ModelError(f"{what}: cannot read {uri} ({error.strerror})") from error
        except OSError as error:  # a full disk, a mount that does not answer: nothing about the file
            target.unlink(missing_ok=True)
            raise TransientError(f"{what}: {uri} was not copied to {target} ({error}); check the disks and try again") from error
    else:
        _download(what, uri, target)
    found = sha256_of(target)
    if found != version.sha256:
        target.unlink()
        raise ModelError(
            f"{what}: {uri} has sha256 {found}, but {version.sha256} was registered; the file was altered or torn, do not promote it"
        )


def _download(what: str, uri: str, target: Path) -> None:
    """Download from MLflow's server or an object store. Ask first whether the file is there: only its absence looks the same in all stores."""
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

    The only way to move a champion. Returns the entry; raises `LedgerConflict` if the ledger has moved on since.
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


def roll_back(ledger: Ledger, target: Entry, champion: Entry, *, actor: str, reason: str, evidence: dict[str, Any] | None = None) -> Entry:
    """Make `target`, which was champion before, champion again in the place of the entry `champion`, from the next night on.

    Nothing is appended before the file of `target` was fetched and its digest verified. Returns the entry; raises what `fetch` and
    `make_champion` raise.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fetch(target, Path(scratch) / "model.onnx")
    live_from = next_night(champion.name, champion.live_from)
    return make_champion(ledger, target, champion, action="rollback", live_from=live_from, actor=actor, reason=reason, evidence=evidence)


def next_night(name: str, not_before: str) -> str:
    """Return the first partition that the next champion of `name` can score: the one after the newest that is published, or `not_before` if later.

    An encoder scores nothing that is published: its nights are those of the model next to it.
    """
    from pipelines.lib.published.nights import published_nights

    registry = load_registry()
    newest = published_nights(registry.name if name == registry.encoder else name, until="9999-12-30", count=1)
    return max([not_before, *(day_after(parse_partition(night.partition)) for night in newest)])


def choose_live_from(run: RunFile, name: str, champion: Entry | None, asked: str | None) -> str:
    """Return the partition from which a version that `run` made is live: after all that is published, and not before the `champion` that it follows.

    Of a retraining it is the day after its own at the earliest, since a champion has scored that. Raises `ConfigError` if the partition
    `asked` for is before the champion's; otherwise that is it.
    """
    if asked is None:
        first = day_after(run.date) if run.model.champion else run.partition
        return next_night(name, max(first, champion.live_from) if champion else first)
    parse_partition(asked)
    if champion and asked < champion.live_from:
        raise ConfigError(
            f"--live-from is {asked}, but version {champion.version} became champion from {champion.live_from} on (entry {champion.sequence}); "
            "name that partition, or a later one, or leave it out"
        )
    return asked


def day_after(date: dt.date) -> str:
    """Return the partition that follows `date`."""
    return (date + dt.timedelta(days=1)).isoformat()


def withdraw(client: "MlflowClient", version: Registered) -> None:
    """Take the alias `challenger` off `version`; a newer challenger keeps it."""
    if str(client.get_registered_model(version.name).aliases.get("challenger")) == version.version:
        client.delete_registered_model_alias(version.name, "challenger")


def clear_marks(client: "MlflowClient", version: Registered) -> None:
    """Take off `version` what said that it was refused or rolled back: it is champion."""
    for mark in sorted(client.get_model_version(version.name, version.version).tags.keys() & set(MARKS)):
        client.delete_model_version_tag(version.name, version.version, mark)


def require_not_refused(client: "MlflowClient", journal: Journal, version: Registered) -> None:
    """Raise `GateFailed` if `version` was refused or rolled back, by its tags or by what the journal says of it last."""
    tags = client.get_model_version(version.name, version.version).tags
    marks = [f"{mark}: {tags[mark]}" for mark in MARKS if mark in tags]
    verdicts = [row for row in journal.verdicts(version.name) if row.challenger == version.version != row.champion]
    if verdicts and verdicts[-1].verdict in ("refuse", "refused", "rolled_back"):
        marks.append(f"{verdicts[-1].verdict} in {verdicts[-1].run_id}: {verdicts[-1].reason}")
    if marks:
        raise GateFailed(
            f"{version.name} version {version.version} was turned down, and nobody can promote it now ({'; '.join(marks)}). Trigger a retraining, which "
            "decides again; what was champion before comes back by rollback --to. See docs/runbooks/refused-challenger.md"
        )


def project_aliases(client: "MlflowClient", ledger: Ledger, name: str) -> None:
    """Set the aliases `champion` and `previous` of model `name` to what the ledger says; safe to repeat, repairs after a crash.

    A `challenger` that has become champion is no longer a challenger. If the ledger changes during the call, it is projected again: anyone who writes last has
    also read last, so that a slow process cannot leave an older state behind. Raises `TransientError` if MLflow refuses to write.
    """
    from mlflow.exceptions import MlflowException

    failures = 0
    while True:
        champion = ledger.champion(name)
        try:
            _write_aliases(client, name, {"champion": champion, "previous": ledger.previous(name)})
        except MlflowException as error:  # another process has just written the same alias
            failures += 1
            if failures == 3:
                raise TransientError(f"MLflow did not set the aliases of {name} ({error}); run this again, it repairs them") from error
            continue
        if ledger.champion(name) == champion:
            return


def _write_aliases(client: "MlflowClient", name: str, wanted: dict[str, Entry | None]) -> None:
    present = {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    for alias, entry in wanted.items():
        if entry and present.get(alias) != entry.version:
            client.set_registered_model_alias(name, alias, entry.version)
        elif not entry and alias in present:
            client.delete_registered_model_alias(name, alias)
    champion = wanted["champion"]
    if champion and present.get("challenger") == champion.version:
        client.delete_registered_model_alias(name, "challenger")
