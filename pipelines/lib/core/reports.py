"""The report of a gate, read back by the stages behind it.

A failed gate already stops the stages after it; these read its report all the same, since publishing must not depend on who calls it.
"""

import json
from pathlib import Path

from pipelines.lib.core.errors import DataError, GateFailed


def require_passed(directory: Path, gate: str, partition: str) -> int:
    """The rows that `gate` passed for `partition`, from the report in `directory`.

    Raises `GateFailed` when it did not pass, `DataError` when there is no whole report of that gate on that partition.
    """
    path = directory / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        found = (report["gate"], report["partition"])
        passed, rows = report["passed"], int(report["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no report of the gate {gate} ({type(error).__name__}: {error}); run {gate} first") from None
    if found != (gate, partition):
        raise DataError(f"{path} is the report of {found[0]} on {found[1]}, wanted is that of {gate} on {partition}; run {gate} again")
    if passed is not True:
        raise GateFailed(f"{gate} did not pass {partition}; read {directory / 'report.html'}. Nothing was done with these rows")
    return rows
