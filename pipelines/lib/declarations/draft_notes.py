"""The comments and warnings of a first declaration: what its source shows, in words."""

from collections.abc import Mapping, Sequence

from pipelines.lib.declarations.bands import significant
from pipelines.lib.declarations.events import shared
from pipelines.lib.declarations.facts import ColumnFacts, Facts
from pipelines.lib.sources.scan import Scan


def column_notes(scanned: Scan, facts: Facts, kinds: Mapping[str, str]) -> list[str]:
    """Return the rows and dates of the source, and a line for each of its columns, whose types are `kinds`."""
    notes = [f"{scanned.where}: {facts.rows:,} rows of {facts.first} to {facts.last}, {len(facts.days)} dates."]
    width = max(map(len, kinds))
    for column, kind in kinds.items():
        fact = facts.columns[column]
        shown = "" if fact.values is None else f"  values {', '.join(map(str, fact.values[:8]))}{' …' if len(fact.values) > 8 else ''}"
        notes.append(
            f"  {column:<{width}}  {kind:<9}  {fact.nulls:>6.1%} missing  {_count(fact, facts.rows):>13} {'value' if fact.values and len(fact.values) == 1 else 'values'}{shown and f':{shown[8:]}'}".rstrip()
        )
    if left_out := [column for column in scanned.columns if column not in kinds]:
        notes.append(f"Left out, of a type that cannot be declared: {', '.join(left_out)}.")
    return notes


def _count(fact: ColumnFacts, rows: int) -> str:
    """Return how many values a column of `rows` has. The count of many values is an estimate."""
    if fact.values is not None:
        return f"{len(fact.values)}"
    return f"about {significant(min(fact.distinct, rows)):,}"


def key_warnings(key: Sequence[str], repeated: int) -> list[str]:
    """Return the warning of a `key` that `repeated` rows share with another; none for 0."""
    return [f"--key is {shared(key, repeated)}: name the columns that tell them apart"] if repeated else []


def label_warnings(facts: Facts, label: str) -> list[str]:
    """Return the warning of a `label` that has no outcome, or the same one in all rows."""
    known, positive = facts.labelled(facts.first, facts.end), facts.positive(facts.first, facts.end)
    if not known:
        return [f"--label is {label!r}, which is NULL for all {facts.rows:,} rows: correct it, a model needs outcomes"]
    if positive in (0, known):
        if facts.label_range is not None:
            return [
                f"--label is {label!r}, which is {facts.label_range[0]:g} for all {known:,} rows: correct it, there is nothing to forecast"
            ]
        shown = "true" if positive else "false"
        return [f"--label is {label!r}, which is {shown} for all {known:,} rows with an outcome: correct it, a model needs both outcomes"]
    return []


def delay_of(facts: Facts, given: int | None) -> tuple[int, str]:
    """Return the delay of the label, the `given` one if there is one, and a note that says how it was found: the newest dates have no outcome yet."""
    if given is not None:
        return given, f"Label delay: {_days(given)}, as given."
    known = [date for date, day in facts.days.items() if day.known >= day.rows / 2]
    if not any(day.known for day in facts.days.values()):
        return 1, "Label delay: CANNOT BE SEEN, since no row has an outcome. 1 day is a guess: correct delay_days."
    if not known or not facts.null_until_known or max(known) == facts.last:
        return 1, "Label delay: CANNOT BE SEEN, since the newest rows have outcomes. 1 day is a guess: correct delay_days."
    days = (facts.last - max(known)).days
    return days, f"Label delay: outcomes end {_days(days)} before the rows do, on {max(known)}."


def _days(days: int) -> str:
    return f"{days} day" if days == 1 else f"{days} days"
