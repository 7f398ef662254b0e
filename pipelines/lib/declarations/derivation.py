"""Derive the parameters of a use case from the history of its table: what ``derived.yaml`` holds."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import duckdb
import yaml

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section, read_yaml
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.use_cases import UseCase, effective
from pipelines.lib.declarations import rules
from pipelines.lib.declarations.clock_zones import whole_dates
from pipelines.lib.declarations.config_rules import feature_faults
from pipelines.lib.declarations.events import load_events, repeated_rows, scan_events, shared, time_zone_of
from pipelines.lib.declarations.facts import EVENTS, Facts, read_facts, worst_missing_share, worst_unseen_share
from pipelines.lib.declarations.faults import with_text_keys
from pipelines.lib.declarations.references import columns_in
from pipelines.lib.declarations.rhythm import not_declared
from pipelines.lib.declarations.side_tables import derive_side_tables
from pipelines.lib.features.declaration import Features, category_values
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import connect, name
from pipelines.lib.tables.labels import check_label, task_seen, with_task

DERIVED_FROM = "derived_from"

_BOUNDS = ("ingest_history.start", "first_run.partition")
"""Declared dates that decide how many rows are before the first night, and which months its vector index holds."""

HEADER = """\
# Read from the history of the table by python -m pipelines.use_case derive {name}; docs/reference/use-cases.md says by which rules.
# A value that you declare in {declaration} wins over the one here. Commit this file: runs are reproducible by it.
"""

LEFT_OUT = """\
# The rows of {dates} are left out: models and the vector index learn from the latest months, and each month is a shard of the index.
# To learn from all of them, declare ingest_history.start in {declaration} and derive again.
"""


def digest(declaration: Mapping[str, Any]) -> str:
    """Return the digest of what parameters are derived from: the sections ``dataset`` and ``features`` of a declaration, and declared bounds."""
    of_table = {section: declaration.get(section) for section in ("dataset", "features")}
    of_table |= {key: bound for key in _BOUNDS if (bound := rules.said(declaration, key)) is not None}
    return hashlib.sha256(json.dumps(with_text_keys(of_table), sort_keys=True, default=str).encode()).hexdigest()


def staleness(use_case: UseCase) -> str | None:
    """Return why ``derived.yaml`` of `use_case` does not belong to its declaration, with the remedy; None if it does, or does not exist."""
    if not use_case.derived.exists():
        return None
    said = read_yaml(use_case.derived).get(DERIVED_FROM)
    found = said.get("sha256") if isinstance(said, dict) else None
    if found == digest(read_yaml(use_case.declaration)):
        return None
    return (
        f"{use_case.derived}: {DERIVED_FROM}.sha256 is {str(found)[:12]}, of another dataset, features, "
        f"ingest_history.start or first_run.partition than {use_case.declaration} declares now; "
        f"run python -m pipelines.use_case derive {use_case.name} --again"
    )


def derive(use_case: UseCase, today: dt.date) -> dict[str, Any]:
    """Return the content of ``derived.yaml`` of `use_case` as of `today`: all that its declaration leaves open.

    The same declaration, history and day give the same content. Raises `ConfigError` for a declaration and `DataError` for a table that cannot be read.
    """
    declared = read_yaml(use_case.declaration)
    without = effective(use_case, derived=False).params
    features = parse_section(without.get("features") or {}, Features, f"{use_case.declaration}: features")
    with connect(time_zone_of(without)) as (connection, scratch):
        scanned, dataset, undeclared = scan_events(connection, without, scratch, f"{use_case.declaration}: dataset")
        load_events(connection, scanned, dataset)
        if repeated := repeated_rows(connection, dataset.key):
            fact = f"{use_case.declaration}: dataset.key is {shared(dataset.key, repeated)}"
            raise ConfigError(f"{fact}; name the columns that tell them apart")
        dataset = _with_task(connection, dataset, declared, f"{use_case.declaration}: dataset.label.expression")
        if faults := list(feature_faults(dataset, features)):
            raise ConfigError("\n".join(f"{use_case.declaration}: {fault}" for fault in faults))
        facts = whole_dates(connection, read_facts(connection, dataset, scanned.where), dataset)
        _check_outcomes(facts, dataset, declared, str(use_case.declaration))
        columns = rules.derive_columns(dataset, features, facts, undeclared)
        whole = _with_columns(dataset, columns)
        sides = derive_side_tables(connection, whole, scratch)
        found = {
            "dataset": {
                **({"label": {"task": dataset.label.task}} if dataset.label.task != "binary" else {}),
                "columns": columns,
                **({"tables": sides} if sides else {}),
            },
            **rules.derive(whole, features, facts, declared, today),
        }
        found["validate_features"] = _category_shares(connection, whole, features, without["validate_features"])
    origin = {
        "sha256": digest(declared),
        "source": scanned.where,
        "rows": facts.rows,
        "outcomes": facts.labelled(facts.first, facts.end),
        **(
            {"positive": facts.positive(facts.first, facts.end)}
            if facts.label_range is None
            else {"mean": float(f"{facts.mean(facts.first, facts.end):.6g}")}
        ),
        "first": str(facts.first),
        "last": str(facts.last),
    }
    if noted := not_declared(facts.counts, dataset.calendar):
        origin["nights"] = " ".join(noted)
    if (start := dt.date.fromisoformat(found["ingest_history"]["start"])) > facts.first_outcome:
        origin["left_out"] = f"{facts.first_outcome} to {start - dt.timedelta(days=1)}"
    in_order = {section: found[section] for section in without if section in found}
    return {DERIVED_FROM: origin, **_left_open(in_order | found, declared)}


def _with_task(connection: duckdb.DuckDBPyConnection, dataset: Dataset, declared: Mapping[str, Any], where: str) -> Dataset:
    """Return `dataset` with the task of its label, which follows from the type of the expression unless it is declared. Raises `ConfigError`."""
    if rules.said(declared, "dataset.label.task") is None:
        dataset = with_task(dataset, task_seen(connection, dataset, EVENTS, where))
    check_label(connection, dataset, where)
    return dataset


def _check_outcomes(facts: Facts, dataset: Dataset, declared: Mapping[str, Any], where: str) -> None:
    """Raise `ConfigError` unless the history that is learned from has rows and outcomes."""
    start = rules.said(declared, "ingest_history.start")
    first = facts.first if start is None else parse_partition(start)
    if first > facts.last:
        raise ConfigError(
            f"{where}: ingest_history.start is {first}, but the last row is of {facts.last}; declare an earlier date, or none"
        )
    partition = rules.said(declared, "first_run.partition")
    end = facts.end if partition is None else parse_partition(partition)
    if not first < end <= facts.end:
        raise ConfigError(
            f"{where}: first_run.partition is {end}, but the rows are of {first} to {facts.last}; declare a date within them, or none"
        )
    if not facts.labelled(first, facts.end):
        raise ConfigError(
            f"{where}: dataset.label.expression is {dataset.label.expression!r}, which is NULL for every row from {first} to {facts.last}; correct it"
        )


def write(use_case: UseCase, content: Mapping[str, Any]) -> None:
    """Write `content` to ``derived.yaml`` of `use_case`, whole or not at all."""
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, default_flow_style=None)
    header = HEADER.format(name=use_case.name, declaration=use_case.declaration)
    if left_out := content[DERIVED_FROM].get("left_out"):
        header += LEFT_OUT.format(dates=left_out, declaration=use_case.declaration)
    with replacing(use_case.derived) as temporary:
        temporary.write_text(header + text, encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: two sections that say the same say it both."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _with_columns(dataset: Dataset, columns: Mapping[str, Mapping[str, Any]]) -> Dataset:
    """Return `dataset` with what was derived of its columns; a declared value stays."""
    whole = {
        column: declared.model_copy(
            update={
                key: tuple(value) if isinstance(value, list) else value
                for key, value in columns.get(column, {}).items()
                if key not in declared.model_fields_set
            }
        )
        for column, declared in dataset.columns.items()
    }
    return dataset.model_copy(update={"columns": whole})


def _category_shares(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features, default: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the shares of rows without a category, or with one that is not declared, that are normal. Joined categories keep the defaults."""
    own = {column.lower() for column in dataset.columns}
    missing = unseen = 0.0
    for feature, categorical in features.categorical.items():
        expression = categorical.expression or name(feature)
        if all(column.lower() in own for column in columns_in(connection, expression)):
            missing = max(missing, worst_missing_share(connection, expression, dataset))
            if values := category_values(dataset, feature, categorical):
                unseen = max(unseen, worst_unseen_share(connection, expression, values, dataset))
    shares = {"maximum_missing_share": missing, "maximum_unseen_share": unseen}
    return {key: found for key, share in shares.items() if (found := rules.with_headroom(share)) > default[key]}


def _left_open(derived: Mapping[str, Any], declared: Any) -> dict[str, Any]:
    """Return `derived` without what `declared` says, and without sections that are then empty."""
    kept: dict[str, Any] = {}
    for key, value in derived.items():
        below = declared.get(key) if isinstance(declared, Mapping) else None
        if isinstance(value, Mapping) and (below is None or isinstance(below, Mapping)):
            if inner := _left_open(value, below):
                kept[str(key)] = inner
        elif below is None:
            kept[str(key)] = value
    return kept
