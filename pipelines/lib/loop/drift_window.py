"""Windows of nights: which recorded nights are added up for a night, and which windows no longer fit what is recorded.

A night may be watched late, or published again, after the nights that follow it were watched. Their windows hold it, so they are measured again.
"""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.lib.records.journal import NightRecord, of_published

SUPERSEDED = "superseded"
"""The publication of a record whose scores were replaced before it was made: it is about nothing that is published."""

Measure = Callable[[NightRecord, Sequence[NightRecord]], dict[str, Any]]


def span(partition: str, window_nights: int) -> tuple[str, str]:
    """Return the first and last date whose windows may hold `partition`, or that its own window may hold.

    A window reaches back twice its length: a shop that is shut on Sundays still has its nights, but a version that a rollback
    brought back has none of a season ago.
    """
    date, reach = dt.date.fromisoformat(partition), dt.timedelta(days=2 * window_nights)
    return (date - reach).isoformat(), (date + reach).isoformat()


def earlier(records: Sequence[NightRecord], partition: str, window_nights: int) -> list[NightRecord]:
    """Return those of `records` (of one version) that are added up with the night `partition`, oldest first."""
    since, _ = span(partition, window_nights)
    found = sorted((night for night in records if since <= night.partition < partition), key=lambda night: night.partition)
    return found[len(found) - min(len(found), window_nights - 1) :]


def refreshed(
    records: Sequence[NightRecord],
    changed: Collection[str],
    published: Mapping[str, str],
    window_nights: int,
    measure: Measure,
) -> list[NightRecord]:
    """Return those of `records` (of one version) whose window holds another set of nights than it did, or one that has `changed`, measured again.

    `measure` gives the drift of a night with those before it. Only what is `published` now counts.
    """
    current = of_published(records, published)
    found = []
    for night in current:
        before = earlier(current, night.partition, window_nights)
        window = [record.partition for record in [*before, night]]
        if night.drift.get("window") != window or not set(window).isdisjoint(changed):
            found.append(replace(night, drift={"window": window} | measure(night, before)))
    return found
