"""Findings from counts: how many rows were considered, how many of them are unexpected, and whether that is few enough."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.lib.gates.report import FAILED, NOT_JUDGED, PASSED, Finding, Verdict
from pipelines.lib.gates.suite import Expectation, columns_of


def finding_of(expectation: Expectation, verdict: Verdict, *, observed: Any, **counts: Any) -> Finding:
    """Return the finding on `expectation`."""
    columns = columns_of(expectation)
    return Finding(
        type=expectation.type, column=", ".join(columns) or None, kwargs=expectation.kwargs, verdict=verdict, observed=observed,
        notes=str(expectation.meta.get("notes", "")), **counts,
    )  # fmt: skip


def rows_considered(values: Mapping[str, Any]) -> int:
    """Return how many rows Great Expectations has considered, by the counts `values` of its result."""
    return int(values.get("element_count", 0) - values.get("missing_count", 0))


def holds_enough(expectation: Expectation, considered: int, unexpected: int) -> bool:
    """Return whether enough values hold, by Great Expectations' own formula for `mostly`."""
    return not considered or bool((considered - unexpected) / considered >= expectation.kwargs.get("mostly", 1))


def counted(expectation: Expectation, holds: bool, considered: int, unexpected: int, samples: Sequence[Mapping[str, Any]]) -> Finding:
    if not considered:
        return finding_of(expectation, NOT_JUDGED, observed=f"{NOT_JUDGED}: no values", unexpected_count=0, unexpected_share=0.0)
    share = unexpected / considered
    return finding_of(
        expectation,
        PASSED if holds else FAILED,
        observed=f"{unexpected} violation{'' if unexpected == 1 else 's'} in {considered} rows ({share:.2%})",
        unexpected_count=int(unexpected),
        unexpected_share=round(share, 6),
        sample_rows=samples,
    )
