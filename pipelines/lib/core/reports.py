"""The verdict of a gate: written next to its report, read back by the stages behind it.

A failed gate already stops the stages after it. They read its verdict all the same, since publishing must not depend on its caller.
DVC has them depend on the verdict alone: a gate whose report reads differently, but which passes the same rows, runs nothing again.
"""

import json
from pathlib import Path

from pipelines.lib.core.errors import DataError, GateFailed

VERDICT = "verdict.json"


def write_verdict(directory: Path, gate: str, partition: str, rows: int, *, passed: bool) -> None:
    """Write what `gate` decided on the `rows` of `partition` into the `directory` of its report."""
    content = {"gate": gate, "partition": partition, "passed": passed, "rows": rows}
    (directory / VERDICT).write_text(json.dumps(content) + "\n", encoding="utf-8")


def require_passed(path: Path, gate: str, partition: str) -> int:
    """Return the rows that `gate` passed for `partition`, from its verdict at `path`.

    Raises `GateFailed` when it did not pass, `DataError` when there is no whole verdict of that gate on that partition.
    """
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        found = (verdict["gate"], verdict["partition"])
        passed, rows = verdict["passed"], int(verdict["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a verdict of the gate {gate} ({type(error).__name__}: {error}); run {gate} first") from None
    if found != (gate, partition):
        raise DataError(f"{path} is the verdict of {found[0]} on {found[1]}, expected that of {gate} on {partition}; run {gate} again")
    if passed is not True:
        raise GateFailed(f"{gate} did not pass {partition}; read {path.parent / 'report.html'}. Nothing was done with these rows")
    return rows
