"""Check section ``dataset`` before its columns are derived: every key by itself, and the names against each other."""

from collections.abc import Mapping
from typing import Any

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.declarations.faults import Finding, read_section
from pipelines.lib.declarations.references import used_columns
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import UTC, bare_connection

_KEY, _TIME = "nightshift_key", "nightshift_time"

_SOUND: Mapping[str, Any] = {
    "name": "nightshift",
    "source": {"kind": "parquet", "path": "nightshift.parquet"},
    "key": [_KEY],
    "event_time": _TIME,
    "label": {"name": "nightshift_label", "expression": "true", "delay_days": 0},
    "time_zone": UTC,
}
"""Values that take the place of faulty ones, so that the other keys can be checked against each other."""


def bare_dataset_faults(dataset: object, features: object) -> list[Finding]:
    """Return all faults of section `dataset` itself. A column whose type is not declared counts as text, the event time as a timestamp."""
    if not isinstance(dataset, dict):
        return read_section(dataset, Dataset, "dataset")[1]
    used = known_columns(dataset, features)
    content = _with_columns(dataset, used)
    faults: list[Finding] = []
    for _ in Dataset.model_fields:  # the model names all faulty keys, or else the first pair of keys that do not fit
        _, found = read_section(content, Dataset, "dataset")
        faults += [fault for fault in found if fault not in faults]
        wrong = {fault.key.split(".")[1] for fault in found if "." in fault.key} & {*content, *_SOUND}
        if not wrong:
            break
        content = _repaired(content, wrong, used, keep_label=not any(fault.key == "dataset.label.name" for fault in found))
    return faults


def known_columns(dataset: Mapping[str, Any], features: object) -> list[str]:
    """Return the columns that sections `dataset` and `features` name, as far as they can be read."""
    try:
        return used_columns(bare_connection(UTC), dataset, features if isinstance(features, dict) else {})
    except (ConfigError, TypeError, AttributeError):  # the checks of these keys say what is wrong
        lists = [dataset.get(key) for key in ("key", "known_later", "columns")]
        named = [dataset.get("event_time"), *(column for content in lists if isinstance(content, list | dict) for column in content)]
        return list(dict.fromkeys(column for column in named if isinstance(column, str)))


def _with_columns(dataset: Mapping[str, Any], used: list[str]) -> dict[str, Any]:
    declared = dataset.get("columns")
    if declared is not None and not isinstance(declared, dict):
        return dict(dataset)
    guessed = {column: {"type": "timestamp" if column == dataset.get("event_time") else "string"} for column in used}
    return {**dataset, "columns": {_KEY: {"type": "string"}, _TIME: {"type": "timestamp"}, **guessed, **(declared or {})}}


def _repaired(content: Mapping[str, Any], wrong: set[str], used: list[str], *, keep_label: bool) -> dict[str, Any]:
    """Return `content` without the keys that are `wrong`, or with sound values for those that a dataset needs.

    With `keep_label`, the label keeps its name, which may still be that of a column.
    """
    kept = {key: value for key, value in content.items() if key not in wrong}
    sound = {key: value for key, value in _SOUND.items() if key in wrong}
    label = content.get("label")
    if "label" in wrong and keep_label and isinstance(label, dict) and isinstance(label.get("name"), str):
        sound["label"] = {**_SOUND["label"], "name": label["name"]}
    if "columns" in wrong:
        sound |= _with_columns({"event_time": content.get("event_time")}, used)
    return kept | sound
