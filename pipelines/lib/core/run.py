"""``run.yaml``: which inputs this one run uses. Pinned once when the run opens, read by every later stage, never resolved again.

In the repository it describes a laptop's run; in a workspace `pipelines.registry.pin_run` has written it.
"""

import datetime as dt
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from pipelines.lib.core import use_cases
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.params import Section, parse_section, read_yaml
from pipelines.lib.core.partition import parse_partition

RUN_FILE = Path("run.yaml")


class PinnedModel(Section):
    """The model that a run scores with.

    `path` is where it is in the workspace. `version` and `sha256` are None on a laptop, where the model is the one
    that the same workspace trains; a registered version always carries both. `degraded` is True when the champion
    could not be used and this is the version before it; `instead_of` is then the champion's version. `ledger_sequence` is
    the entry of the ledger that had made the champion: the same version may become champion again, an entry never does.
    """

    path: str
    name: str
    version: str | None = None
    sha256: str | None = None
    degraded: bool = False
    instead_of: str | None = None
    ledger_sequence: int | None = None

    @property
    def champion(self) -> str | None:
        """The version that was champion when the run opened, whether or not its file could be used."""
        return self.instead_of or self.version


class PinnedIndex(Section):
    """The generation of the vector index that was published when the run opened.

    `sequence` is the pointer's, which counts every switch: a later one means that somebody published or rolled back since. `degraded` is True
    if the newest generation could not be used (`fault` says why) and this is the one before it.
    """

    name: str
    generation: str
    manifest_sha256: str
    partition: str
    encoder_version: str
    encoder_sha256: str
    sequence: int
    degraded: bool = False
    fault: str | None = None


class DeltaVersion(Section):
    """The version of a Delta table that a run reads; `table_id` tells it from a table that is made again at the same place."""

    table_id: str
    version: int


class RunFile(Section):
    """The partition of a run and the versions that it was pinned to. `run_ref` is the git ref that will record it when it closes.

    `source_revision` fingerprints the source as it was when the run opened, so that a corrected source is read again
    and an unchanged one is not. `opened_at` (UTC, ISO 8601) is the only clock that a stage may read. `snapshot` is True
    when `git_commit` holds uncommitted changes of the embedded profile's working tree. `night_ref` is set where a run looks at a
    published night: the git ref of the run that scored it. `delta` holds the version of each source that is a Delta table, by the name of the table,
    and `files` digests of the files of each source that has some (`pipelines.lib.sources.pinned_files`).

    Of the vector index: `encoder` makes the vectors, `shards` are the months (``2013-01``) that hold all matured rows, `index` is what was published
    (None: nothing yet), `rebuild` whether an incremental rebuild of it will do.
    """

    partition: str
    model: PinnedModel
    dag_id: str = "laptop"
    run_id: str = "laptop"
    run_ref: str | None = None
    git_commit: str | None = None
    snapshot: bool = False
    opened_at: str | None = None
    source_revision: str | None = None
    delta: dict[str, DeltaVersion] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    night_ref: str | None = None
    encoder: PinnedModel = PinnedModel(path="data/encoder/encoder.onnx", name="encoder")
    shards: tuple[str, ...] = ()
    index: PinnedIndex | None = None
    rebuild: Literal["auto", "full", "incremental"] = "auto"

    @property
    def date(self) -> dt.date:
        """The partition as a date."""
        return parse_partition(self.partition)


def load_run(path: Path = RUN_FILE) -> RunFile:
    """Return the run file at `path`. Raises `ConfigError` if it is missing or wrong, an unquoted date included.

    In the repository, for a use case that `NIGHTSHIFT_USE_CASE` names, return the first run that it declares.
    """
    content = read_yaml(path)
    if path == RUN_FILE and content.get("dag_id", "laptop") == "laptop" and (use_case := use_cases.chosen(Path())) is not None:
        content = use_cases.first_run_of(use_case) or content
    parse_partition(content.get("partition"))  # before the model: an unquoted YAML date deserves its own words
    return parse_section(content, RunFile, path.name)


def save_run(run: RunFile, path: Path = RUN_FILE) -> None:
    """Write `run` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
