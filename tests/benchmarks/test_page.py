"""The page of the benchmarks is what the command makes of the results that git keeps, and a result says where it comes from."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measure, page
from benchmarks.page_topics import TOPICS


def test_the_page_is_what_the_command_makes_of_the_results() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(page.load())


def test_every_result_has_a_section_and_an_origin() -> None:
    results = page.load()
    assert results.keys() <= {topic.name for topic in TOPICS}
    for name, result in results.items():
        assert {"measured", "commit", "machine"} <= result.keys(), name


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"false_retrains_per_year": 0.376}, "| false retrainings per stationary year, flights drawn | 0.376 | the target: at most 1 |"),
        ({"detected_within_7": 0.976}, "| shifts seen within 7 nights, flights drawn | 97.6 % | 1,250 simulated shifts |"),
        ({"median_delay_nights": 6.0}, "| median delay until a shift is seen, flights drawn | 6.0 nights | the night of the shift |"),
        (
            {"shifts": {"concept": {"detected_within_7": 0.5}}},
            "| losses of 0.05 AUC seen within 7 nights, flights drawn | 50.0 % | 250 simulated shifts |",
        ),
    ],
)
def test_a_figure_has_its_unit_and_its_comparison(result: dict[str, Any], shown: str) -> None:
    lines = page.render({"governor": {**result, "measured": "2026-01-02", "commit": "0123456789", "machine": "a; b"}}).splitlines()
    assert [line for line in lines if line.startswith("| ") and "---" not in line] == ["| figure | value | compared with |", shown]
    assert "Recorded on 2026-01-02, commit `0123456`. Machine: a, b." in lines
    assert lines.count("No result is recorded.") == len(TOPICS) - 1


def test_only_results_with_an_origin_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    recorded = measure.record("night", {"night_wall_s": 1.5})
    (tmp_path / "old.json").write_text(json.dumps({"rerun_wall_s": 2}), encoding="utf-8")
    kept = tmp_path / "kept"
    kept.mkdir()
    names = {"night": recorded, "retrain": tmp_path / "old.json", "drift": tmp_path / "none.json"}
    assert page.take(names, kept) == ["night"]
    assert page.load(kept)["night"]["night_wall_s"] == 1.5
