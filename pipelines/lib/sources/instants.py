"""Casts to instants, for a dataset with a time zone: from times that say their zone, and from wall-clock times of a declared one.

No zone is guessed. A time without one needs `written_in`, and a time that the clocks of that zone skip or show twice is refused by name.
"""

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.column import Column
from pipelines.lib.tables.engine import text
from pipelines.lib.tables.local_time import OFFSET, OTHER_ZONE, instant


def of_utc(wall: str) -> str:
    """Return the instant of `wall`, the SQL of a time in UTC."""
    return instant(wall, "UTC", missing="NULL", repeated="NULL")


def of_text(value: str, wall: str, declared: Column, refusals: "Refusals") -> str:
    """Return the instant of the text `value`: its own offset counts, otherwise it is `wall`, a time in the zone of the column.

    A text that names its zone is refused: CET has two offsets in one hour, and CST is four zones.
    """
    local = (
        refusals.error(f", which has no zone{_undeclared(declared)}") if declared.written_in is None else of_wall(wall, declared, refusals)
    )
    named = refusals.error(", which says its zone other than by an offset in hours and minutes; deliver it as in 2025-10-26 02:30:00+01:00")
    return (
        f"CASE WHEN {has_offset(value)} THEN TRY_CAST({value} AS TIMESTAMPTZ) WHEN {names_other_zone(value)} THEN {named} ELSE {local} END"
    )


def of_wall(wall: str, declared: Column, refusals: "Refusals") -> str:
    """Return the instant of `wall`, the SQL of a time without a zone. Raises `ConfigError` if the column does not declare its zone."""
    zone = declared.written_in
    if zone is None:
        raise ConfigError(f"column {refusals.column!r} of {refusals.where} has times without a zone{_undeclared(declared)}")
    missing = refusals.error(
        f", a time that the clocks of {zone} skip (written_in); deliver the time with its offset, or correct written_in in params.yaml"
    )
    repeated = declared.repeated_hour or refusals.error(
        f", a time that the clocks of {zone} show twice (written_in); deliver it with its offset, or write `repeated_hour: first` or "
        "`repeated_hour: second` in the column in params.yaml"
    )
    return instant(wall, zone, missing=missing, repeated=repeated)


def has_offset(value: str) -> str:
    """Return the condition that the text `value` says its zone by an offset."""
    return f"regexp_matches({value}, {text(OFFSET)})"


def names_other_zone(value: str) -> str:
    """Return the condition that the text `value` says its zone, also if not by an offset: ask `has_offset` first."""
    return f"regexp_matches({value}, {text(OTHER_ZONE)})"


class Refusals:
    """The refusals of values of `column` in the source `where`; `shown` is the SQL of a value as text, and `before` begins each message."""

    def __init__(self, column: str, where: str, shown: str, before: str) -> None:
        self.column, self.where = column, where
        self._shown, self._before = shown, before

    def error(self, after: str) -> str:
        """Return the SQL that stops the query with a message that ends in `after`."""
        quoted = "'"
        return f"error({text(f'{self._before}{quoted}')} || left({self._shown}, 60) || {text(f'{quoted}{after}')})"


def _undeclared(declared: Column) -> str:
    return (
        f", and dataset.time_zone is {declared.zone}: write `written_in: UTC` in the column in params.yaml, or the zone in which the "
        f"times are written. With `written_in: {declared.zone}`, times in the hour that its clocks show twice are refused unless `repeated_hour: first` "
        "or `second` says which is meant"
    )
