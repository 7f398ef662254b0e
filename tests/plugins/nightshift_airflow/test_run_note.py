"""The note of a run: the outcome within its first characters, the cause in the order of the DAG, and an address that exists."""

import json
import os
from pathlib import Path

import pytest
from nightshift_airflow import links, places
from nightshift_airflow.run_note import LONGEST, Run, describe_run, describe_single, describe_unopened

NIGHTLY = ["open_run", "ingest_batch", "validate_batch", "score", "publish_scores", "attach_evidence", "publish_evidence", "push_run"]
RETRAINING = ["open_run", "train", "evaluate", "register", "shadow", "decide", "approve", "promote", "verify"]
WELL = dict.fromkeys(NIGHTLY, "success")
CUT = 110
"""Characters that every view shows."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(links, "_base_url", lambda: "http://night.example:8080/airflow")
    return tmp_path / "workspace"


def leave(workspace: Path, stage: str, note: str | None = None, *, page: bool = False, failure: str | None = None, at: float = 0) -> None:
    """Write the files that `stage` leaves, as if at `at`: its report, its page, its failure."""
    report = workspace / "data" / "reports" / stage / "report.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({"note": note} if note else {}))
    os.utime(report, (at, at))
    if page:
        kept = places.reports_path("dag", "run") / stage / "report.html"
        kept.parent.mkdir(parents=True)
        kept.write_text("<p>")
    if failure:
        text = workspace / ".dvc" / "tmp" / "failures" / f"{stage}.json"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(json.dumps({"message": failure}))
        os.utime(text, (at, at))


def note(workspace: Path, states: dict[str, str | None], tasks: list[str] = NIGHTLY) -> str:
    return describe_run(Run("dag", "run", "2013-04-01", tasks, states), workspace)


def page(stage: str) -> str:
    """Return the link to the page of `stage`: a path, since people reach Airflow by several names."""
    return f"[{stage}](</airflow/nightshift/reports/dag/run/{stage}>)"


def test_a_published_night_says_so_first_and_shows_its_last_page(workspace: Path) -> None:
    leave(workspace, "attach_evidence", "evidence for 50 rows", page=True, at=1)
    leave(workspace, "publish_scores", "985 rows, Core_RF version 1", at=2)
    leave(workspace, "validate_batch", "validate_batch: WARNING: amount: 0.9", page=True, at=9)  # restored by DVC after the others
    text = note(workspace, WELL)
    assert text == (
        "PUBLISHED 2013-04-01: 985 rows, Core_RF version 1; validate_batch: WARNING: amount: 0.9; evidence for 50 rows. "
        f"Report: {page('attach_evidence')}"
    )


SPARSE = [*NIGHTLY[:3], "publish_empty_night", *NIGHTLY[3:]]
EMPTY = {**dict.fromkeys(SPARSE, "skipped"), **dict.fromkeys(SPARSE[:4], "success"), "push_run": "success"}


def test_a_night_without_rows_is_neither_published_nor_failed(workspace: Path) -> None:
    leave(workspace, "validate_batch", "validate_batch: night 1 in a row", page=True)
    leave(workspace, "publish_scores", "985 rows of an earlier attempt")
    leave(workspace, "publish_empty_night", "night 1 in a row without rows, of at most 2")
    text = note(workspace, EMPTY, SPARSE)
    assert text.startswith("NO ROWS (allowed) 2013-04-01: night 1 in a row without rows, of at most 2; ")
    assert "985" not in text
    assert text.endswith(f"Report: {page('validate_batch')}")


def test_a_night_without_rows_that_was_not_recorded_says_why(workspace: Path) -> None:
    leave(workspace, "publish_empty_night", failure="its scores are published; they were not changed")
    text = note(workspace, EMPTY | {"publish_empty_night": "failed"}, SPARSE)
    assert text.startswith("NO ROWS, NOT RECORDED 2013-04-01: publish_empty_night: its scores are published")


def test_a_night_with_rows_of_such_a_table_is_published(workspace: Path) -> None:
    leave(workspace, "publish_scores", "985 rows, Core_RF version 1")
    text = note(workspace, {**dict.fromkeys(SPARSE, "success"), "publish_empty_night": "skipped"}, SPARSE)
    assert text.startswith("PUBLISHED 2013-04-01: 985 rows")


def test_a_gate_that_stops_the_night_says_what_was_not_done_and_why(workspace: Path) -> None:
    leave(workspace, "ingest_batch", page=True)
    leave(workspace, "validate_batch", page=True, failure="3 of 42 checks failed on partition 2013-04-01: 'carrier'")
    text = note(workspace, WELL | {"validate_batch": "failed", **dict.fromkeys(NIGHTLY[3:], "upstream_failed")})
    assert text.startswith("NOT PUBLISHED 2013-04-01: validate_batch: 3 of 42 checks failed")
    assert text.index("3 of 42 checks failed") < CUT
    assert text.endswith(f"Report: {page('validate_batch')}")


def test_the_cause_is_the_first_of_the_dag_not_the_oldest_file_nor_the_first_letter(workspace: Path) -> None:
    leave(workspace, "validate_batch", failure="the cause", at=9)
    leave(workspace, "attach_evidence", failure="of an earlier attempt", at=1)
    states = WELL | {"attach_evidence": "upstream_failed", "validate_batch": "failed", "publish_scores": "upstream_failed"}
    text = note(workspace, states)
    assert text.startswith("NOT PUBLISHED 2013-04-01: validate_batch: the cause")
    assert "attach_evidence" not in text
    assert text.endswith("Log: [validate_batch](</airflow/dags/dag/runs/run/tasks/validate_batch>)")


def test_a_task_that_could_not_begin_has_not_failed_itself() -> None:
    states = {"validate_batch": "upstream_failed", "validate_scores": "failed", "publish_scores": "upstream_failed"}
    run = Run("dag", "run", "2013-04-01", ["validate_batch", "validate_scores", "publish_scores"], states)
    assert run.failed() == ["validate_scores"]
    assert run.unwell() == ["publish_scores", "validate_batch", "validate_scores"]


def test_a_published_night_whose_evidence_failed_is_still_published(workspace: Path) -> None:
    leave(workspace, "publish_scores", "985 rows")
    leave(workspace, "attach_evidence", failure="torn")
    text = note(workspace, WELL | {"attach_evidence": "failed", "publish_evidence": "upstream_failed"})
    assert text.startswith("PUBLISHED 2013-04-01, but this failed: attach_evidence: torn; 985 rows. Log: ")


def test_a_shard_is_named_and_a_task_without_a_message_too(workspace: Path) -> None:
    tasks = ["open_run", "embed", "publish_index"]
    leave(workspace, "embed@2013-02", failure="torn")
    shards = {"embed_0": "success", "embed_1": "failed", "publish_index": "upstream_failed"}
    assert note(workspace, shards, tasks).startswith("NOT PUBLISHED 2013-04-01: embed@2013-02: torn. Log: ")
    text = note(workspace, {"embed_0": "success", "publish_index": "failed"}, tasks)
    assert text.startswith("NOT PUBLISHED 2013-04-01: publish_index: it left no message")


def test_a_refusal_is_the_outcome_of_a_retraining_that_refuses(workspace: Path) -> None:
    for stage in ("evaluate", "decide"):
        leave(workspace, stage, f"{stage} says", page=True)
    leave(workspace, "refuse", "REFUSED version 2 (ada): too early")
    states = dict.fromkeys(RETRAINING, "success") | {"promote": "skipped", "verify": "skipped"}
    text = note(workspace, states, RETRAINING)
    assert text.startswith("NOT PROMOTED 2013-04-01: REFUSED version 2 (ada): too early; evaluate says; decide says. ")


def test_what_is_promoted_and_then_fails_says_both(workspace: Path) -> None:
    leave(workspace, "promote", "promoted version 2")
    leave(workspace, "verify", failure="rolled back to version 1")
    text = note(workspace, dict.fromkeys(RETRAINING, "success") | {"verify": "failed"}, RETRAINING)
    assert text.startswith("PROMOTED 2013-04-01, but this failed: verify: rolled back to version 1; promoted version 2")


def test_the_report_of_a_skipped_stage_is_of_another_attempt(workspace: Path) -> None:
    leave(workspace, "promote", "promoted version 2")
    text = note(workspace, dict.fromkeys(RETRAINING, "success") | {"promote": "skipped"}, RETRAINING)
    assert text == "NOT PROMOTED 2013-04-01"


def test_data_in_a_note_makes_no_link_and_the_report_is_one(workspace: Path) -> None:
    leave(workspace, "validate_batch", page=True, failure="carrier = '[free](http://e.vil) <img src=x> | **now**'")
    text = note(workspace, {"validate_batch": "failed"})
    assert "\\[free\\](http:\u2060//e.vil) \\<img src=x> \\| \\*\\*now\\*\\*" in text
    assert text.endswith(f"Report: {page('validate_batch')}")


@pytest.mark.parametrize("message", ["x" * 5_000, "*" * 5_000, "[" * 600, "a\n" * 3_000])
def test_a_long_cause_leaves_room_for_the_address(workspace: Path, message: str) -> None:
    leave(workspace, "validate_batch", page=True, failure=message)
    text = note(workspace, {"validate_batch": "failed"})
    assert len(text) <= LONGEST
    assert text.endswith(f". Report: {page('validate_batch')}")


def test_a_run_of_one_stage_says_what_became_of_it(workspace: Path) -> None:
    leave(workspace, "rollback", "Core version 1 is champion from 2013-04-02")
    assert describe_single("rollback", "dag", "run", workspace) == "ROLLED BACK: Core version 1 is champion from 2013-04-02"
    text = describe_single("rollback", "dag", "run", workspace, "rollback failed: ModelError: version 3 is unknown")
    assert text.startswith("NOT ROLLED BACK: ModelError: version 3 is unknown. Log: [rollback](</airflow/dags/dag/runs/run/")


def test_a_run_that_was_not_opened_says_whether_for_good() -> None:
    assert describe_unopened(ValueError("pin_run failed: LedgerConflict: no"), refused=True) == "REFUSED: LedgerConflict: no"
    assert describe_unopened(ValueError("pin_run failed: it is away"), refused=False) == "NOT OPENED: it is away"
