"""Clocks that start DAGs in another time zone than that of the dates that they score."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.lib.core.use_cases import CLOCKS
from pipelines.lib.declarations.faults import Found


def zone_warnings(params: Mapping[str, Any]) -> Iterator[Found]:
    """Yield the clocks of `params` that are of another time zone than the dates of the dataset: a night may start before its date has ended."""
    zone = (params.get("dataset") or {}).get("time_zone")
    for section in CLOCKS if isinstance(zone, str) else ():
        clock = (params.get(section) or {}).get("timezone", zone)
        if isinstance(clock, str) and clock != zone:
            yield Found(
                f"{section}.timezone",
                f"is {clock}, but the dates of the dataset end at midnight in {zone} (dataset.time_zone)",
                f"write timezone: {zone} or take it out, unless {(params.get(section) or {}).get('cron')!r} in {clock} is after that midnight all year",
                warning=True,
            )
