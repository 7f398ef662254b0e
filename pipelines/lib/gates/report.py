"""The findings of a gate, and the report that it leaves behind: ``report.json`` for machines, ``report.html`` for people."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import GateFailed
from pipelines.lib.core.params import naming_the_declaration
from pipelines.lib.core.reports import write_verdict
from pipelines.lib.gates.suite import COLUMN_KWARGS
from pipelines.lib.pages.html import render

SAMPLES = 5
"""Sample rows of a failed expectation that a report shows."""

_TEXT_LIMIT = 120
"""Characters of a single value that a report or message shows."""

_MESSAGE_FAILURES = 3
"""Failed expectations that a message tells in full; the report has them all."""

_NOTED_WARNINGS = 2
"""Warnings that the note of a run tells; it has room for a thousand characters, and other stages speak too."""


Verdict = Literal["passed", "failed", "warning", "not judged"]

PASSED: Verdict = "passed"
FAILED: Verdict = "failed"
"""The gate stops the run."""
WARNING: Verdict = "warning"
"""A person should look; the run goes on."""
NOT_JUDGED: Verdict = "not judged"
"""There was too little to say yes or no. It is never shown as passed."""


@dataclass(frozen=True)
class Finding:
    """The verdict on one expectation. Counts are None for what is not judged row by row; the share is of the rows that were considered."""

    type: str
    column: str | None
    kwargs: Mapping[str, Any]
    verdict: Verdict
    observed: Any
    unexpected_count: int | None = None
    unexpected_share: float | None = None
    sample_rows: Sequence[Mapping[str, Any]] = ()
    notes: str = ""

    @property
    def passed(self) -> bool:
        """True if the expectation was judged and holds."""
        return self.verdict == PASSED

    def summary(self) -> str:
        """Return the finding in one line: expectation, column, what was found and what was expected, a sample row."""
        where = f" on {clip(self.column)!r}" if self.column else ""
        limits = ", ".join(f"{key}={value}" for key, value in self.kwargs.items() if key not in COLUMN_KWARGS)
        expected = "; ".join(clip(part) for part in (limits, self.notes) if part)
        sample = f", e.g. {line(self.sample_rows[0])}" if self.sample_rows else ""
        return f"{self.type}{where}: {clip(self.observed)}{sample}{f' (expected: {expected})' if expected else ''}"


def not_judged(what: str, column: str | None, reason: str, *, notes: str = "", **kwargs: Any) -> Finding:
    """Make the finding that ``expect_<what>`` could not be judged, and why: too few nights, no rows."""
    return Finding(f"expect_{what}", column, kwargs, NOT_JUDGED, f"{NOT_JUDGED}: {reason}", notes=notes)


@dataclass(frozen=True)
class Report:
    """All findings of one gate on one partition of `rows` rows. `empty` says why the night may have none; it is empty for other nights, and for one that fails."""

    gate: str
    partition: str
    rows: int
    findings: Sequence[Finding] = field(default_factory=tuple)
    empty: str = ""

    @property
    def passed(self) -> bool:
        """True if nothing stops the run. Warnings and what was not judged do not: see `note`, which describes both."""
        return not self.failures

    @property
    def failures(self) -> list[Finding]:
        """The expectations that do not hold."""
        return self._of(FAILED)

    @property
    def warnings(self) -> list[Finding]:
        """The findings that a person should look at."""
        return self._of(WARNING)

    @property
    def unjudged(self) -> list[Finding]:
        """The findings on which nothing can be said."""
        return self._of(NOT_JUDGED)

    @property
    def holding(self) -> list[Finding]:
        """The expectations that hold."""
        return self._of(PASSED)

    @property
    def note(self) -> str:
        """Return the words of the run's note on a gate that did not fail: its warnings, and how much was not judged. Empty if there is
        neither.
        """
        parts = []
        if self.warnings:
            more = len(self.warnings) - _NOTED_WARNINGS
            subjects = [f"{finding.column}: {finding.observed}" for finding in self.warnings[:_NOTED_WARNINGS]]
            parts.append(f"WARNING: {'; '.join(subjects)}{f'; and {more} more' if more > 0 else ''}")
        if self.unjudged:
            parts.append(f"{len(self.unjudged)} of {len(self.findings)} checks not judged")
        if self.empty:
            parts.insert(0, self.empty)
        return f"{self.gate}: {'; '.join(parts)}" if parts else ""

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``report.json``: the same for the same data, whenever and wherever it is judged."""
        head = {"gate": self.gate, "partition": self.partition, "passed": self.passed, "rows": self.rows}
        counts = {"warnings": len(self.warnings), "not_judged": len(self.unjudged)}
        note = {"note": self.note} if self.note else {}
        empty = {"empty": self.empty} if self.empty else {}
        return {**head, **empty, **counts, **note, "expectations": [asdict(finding) for finding in self.findings]}

    def _of(self, verdict: Verdict) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == verdict]


def deliver(report: Report, directory: Path) -> None:
    """Write ``report.json``, ``verdict.json`` and ``report.html`` into `directory`, then raise `GateFailed` if the gate has failed."""
    with replacing(directory) as target:
        target.mkdir()
        content = json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n"
        (target / "report.json").write_text(naming_the_declaration(content), encoding="utf-8")
        write_verdict(target, report.gate, report.partition, report.rows, passed=report.passed)
        (target / "report.html").write_text(naming_the_declaration(render("gate.html", report=report)), encoding="utf-8")
    if report.passed:
        log = logging.getLogger("nightshift")
        log.info("%d of %d expectations hold on %d rows", len(report.holding), len(report.findings), report.rows)
        for finding in report.warnings:
            log.warning("warning: %s", finding.summary())
        for finding in report.unjudged:
            log.info("%s", finding.summary())
        return
    failures = "; ".join(finding.summary() for finding in report.failures[:_MESSAGE_FAILURES])
    more = len(report.failures) - _MESSAGE_FAILURES
    raise GateFailed(
        f"{len(report.failures)} of {len(report.findings)} checks failed on partition {report.partition}: "
        f"{failures}{f'; and {more} more' if more > 0 else ''}; nothing was published. "
        f"Read {directory}/report.html, then deliver corrected data, or correct the expectation in params.yaml if the data is right, and run again"
    )


def plain(value: Any) -> Any:
    """Return `value` as JSON has it, clipped; NaN is None, infinities are words."""
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()  # noqa: PLR0124 - NaT
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in (sorted(value, key=str) if isinstance(value, set) else value)]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, bool | int) else clip(str(value))


def clip(value: Any) -> Any:
    """Return a string of at most `_TEXT_LIMIT` characters that says how long the whole is; anything else as it is, unless its text is
    long.
    """
    shown = str(value)
    if len(shown) <= _TEXT_LIMIT:
        return value
    return f"{shown[:_TEXT_LIMIT]}… ({len(shown)} characters)"


def line(row: Mapping[str, Any]) -> str:
    shown = json.dumps(row, ensure_ascii=False, default=str)
    return shown if len(shown) <= 3 * _TEXT_LIMIT else f"{shown[: 3 * _TEXT_LIMIT]}…"
