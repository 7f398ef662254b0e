"""Derive the parameters that a use case leaves open from the history of its table, and write them once."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.lib.core.errors import ConfigError, NightshiftError
from pipelines.lib.core.use_cases import UseCase
from pipelines.lib.declarations import derivation
from pipelines.lib.declarations.faults import Fault, with_file
from pipelines.use_case.check import faults_before_derive, faults_of_derived


def derive(use_case: UseCase, today: dt.date, *, again: bool = False) -> str:
    """Write ``derived.yaml`` of `use_case` as of `today`, and return a sentence that says so. An existing file stays, unless `again`.

    Raises `ConfigError` with all faults that `check` would list, or for an existing file of another declaration; `DataError` for a table that is
    too short, or whose values are not of their types.
    """
    if use_case.derived.exists() and not again:
        if stale := derivation.staleness(use_case):
            raise ConfigError(stale)
        return f"{use_case.derived} exists and belongs to {use_case.declaration}: kept. Pass --again to read the history again."
    _refuse(faults_before_derive(use_case), use_case)
    try:
        content = derivation.derive(use_case, today)
    except NightshiftError as error:
        raise type(error)(with_file(str(error), use_case.declaration)) from None
    _refuse(faults_of_derived(use_case, content), use_case)
    derivation.write(use_case, content)
    origin = content[derivation.DERIVED_FROM]
    first_run = content.get("first_run", {}).get("partition", "the declared one")
    warning = f"\nWARNING: {origin['nights']} Declare it in section dataset, and derive --again" if "nights" in origin else ""
    return (
        f"{use_case.derived} written from {origin['rows']:,} rows of {origin['first']} to {origin['last']}. {origin['outcomes']:,} rows have an "
        f"outcome; {_outcomes(origin)}. The first partition is {first_run}. "
        f"Commit it, and see all parameters with python -m pipelines.use_case show {use_case.name}{warning}"
    )


def _refuse(faults: Sequence[Fault], use_case: UseCase) -> None:
    """Raise `ConfigError` with all `faults` of `use_case`, if there are any."""
    if faults:
        raise ConfigError("\n".join([f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'} in {use_case.name}:", *map(str, faults)]))


def _outcomes(origin: Mapping[str, Any]) -> str:
    """Return what the outcomes are on average, in words."""
    if "mean" in origin:
        return f"they are numbers, {origin['mean']:g} on average"
    return f"it is true for {origin['positive'] / origin['outcomes']:.1%} of them"
