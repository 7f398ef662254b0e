"""The report on performance: a night is due when what was measured of it is not what is there."""

from dataclasses import replace

import pytest

from pipelines.lib.loop.performance_report import build_report, changed
from pipelines.lib.published.nights import PublishedNight
from pipelines.lib.records.journal import PerformanceRecord

NIGHT = PublishedNight("2013-06-01", "refs/runs/a", "a", "m", "3", "0" * 64, False, 10, "p")
SEEN = PerformanceRecord("m", "2013-06-01", "3", "d", 10, {"auc": 0.7}, publication="p")


def test_what_was_measured_is_not_due() -> None:
    assert changed({"2013-06-01": SEEN}, {"2013-06-01": "d"}, [NIGHT]) == []
    assert changed({}, {}, [NIGHT]) == [], "no outcome is known"


@pytest.mark.parametrize("change", [{"outcomes_sha256": "e"}, {"version": "2"}, {"publication": "q"}, {"publication": ""}])
def test_what_is_not_what_was_measured_is_due(change: dict[str, str]) -> None:
    assert changed({"2013-06-01": replace(SEEN, **change)}, {"2013-06-01": "d"}, [NIGHT]) == [NIGHT]


def test_the_note_says_why_a_night_was_measured_again() -> None:
    cases = [({"outcomes_sha256": "e"}, "corrected outcomes"), ({"publication": "q"}, "published again")]
    for change, words in cases:
        report = build_report([SEEN], [SEEN], {SEEN.partition: replace(SEEN, **change)}, {})
        assert report["note"] == f"AUC of 2013-06-01 0.70; {words}: 2013-06-01"
    assert "note" not in build_report([SEEN], [], {}, {})
