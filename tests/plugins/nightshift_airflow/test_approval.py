"""The gate at which a person may stand: who is asked, what they read, and what becomes of their answer."""

import datetime as dt
import json
import re
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators import hitl
from airflow.providers.standard.utils.skipmixin import XCOM_SKIPMIXIN_KEY
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped, TaskAwaitingInput
from markdown_it import MarkdownIt
from nightshift_airflow import links, places
from nightshift_airflow.approval import TIMED_OUT, ApproveOperator
from nightshift_airflow.retries import StageError
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import StageOperator

TABLE = {"lead": "On 10 rows.", "columns": ["", "champion", "challenger"], "rows": [["AUC", "0.70", "0.71"]]}
DAG_ID, PARTITION = "drift_triggered_retraining", "2013-04-01"


@pytest.fixture
def waiting_room(repository, monkeypatch):
    """The workspace of a retraining that has come to `approve`; `decide` says what was decided, `approve` runs the operator."""
    with DAG(DAG_ID, params={"reason": Param("", type="string")}):
        opening = OpenRunOperator(task_id="open_run").as_setup()
        operator = ApproveOperator(task_id="approve", response_timeout=dt.timedelta(hours=72), execution_timeout=dt.timedelta(minutes=1))
        promote, verify = (StageOperator(task_id=name, package="registry") for name in ("promote", "verify"))
        closing = CloseRunOperator(task_id="close_run").as_teardown(setups=opening)
        opening >> operator >> promote >> verify >> closing
    start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
    dag_run = SimpleNamespace(dag_id=DAG_ID, run_id="run", partition_key=PARTITION, conf={}, start_date=start, run_after=start)
    pushed, asked = {}, []
    ti = SimpleNamespace(id="one", map_index=-1, xcom_push=lambda key, value: pushed.update({key: value}))
    context = {"dag_run": dag_run, "ti": ti, "task_instance": ti, "task": operator}
    opening.execute(context)
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **question: asked.append(question))
    room = SimpleNamespace(asked=asked, pushed=pushed, home=repository / "var", path=places.workspace_path(DAG_ID, "run"))

    def decide(verdict, *reasons, table=TABLE):
        path = room.path / "data" / "reports" / "decide" / "decision.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"verdict": verdict, "reasons": reasons, "table": table}))

    def answer(option, user=None, **params):
        who = user and {"id": user, "name": user}
        event = {"chosen_options": [option], "params_input": params, "responded_at": start, "responded_by_user": who, "timedout": not user}
        return operator.execute_complete(context, event)

    room.decide, room.answer, room.approve = decide, answer, lambda: operator.execute(context)
    room.refused = lambda: json.loads((room.home / "called" / f"refuse-{PARTITION}").read_text())
    return room


def skipped(room):
    return room.pushed[XCOM_SKIPMIXIN_KEY]["skipped"]


@pytest.mark.costly
def test_what_is_clearly_better_passes_at_once_and_nobody_is_asked(waiting_room):
    waiting_room.decide("promote", "AUC 0.03 better")
    assert waiting_room.approve() == {"approver": "", "reason": ""}
    assert not waiting_room.asked
    assert not (waiting_room.home / "called").exists()


@pytest.mark.costly
def test_what_is_worse_is_refused_on_record_and_the_rest_is_skipped_but_the_teardown(waiting_room):
    waiting_room.decide("refuse", "the AUC is lower")
    with pytest.raises(DownstreamTasksSkipped) as caught:
        waiting_room.approve()
    assert sorted(caught.value.tasks) == ["promote", "verify"] == sorted(skipped(waiting_room))
    assert waiting_room.refused() == ["--registered=data/models/registered.json", "--decision=data/reports/decide/decision.json"]
    assert not waiting_room.asked


@pytest.mark.costly
def test_what_is_not_clear_waits_for_a_person_who_reads_why_and_the_comparison(waiting_room):
    waiting_room.decide("ask", "the interval holds zero", "{{ 7 + 7 }}")
    with pytest.raises(TaskAwaitingInput) as caught:
        waiting_room.approve()
    assert caught.value.timeout == dt.timedelta(hours=72)
    [question] = waiting_room.asked
    assert question["options"] == ["Approve", "Reject"]
    assert question["defaults"] == ["Reject"], "silence is a refusal"
    assert "* the interval holds zero\n" in question["body"]
    assert "| AUC | 0.70 | 0.71 |" in question["body"]
    assert "{{ 7 + 7 }}" in question["body"], "what a report says is not a template"
    assert list(question["params"]) == ["comment"], "the DAG's own params are not part of the form"


def test_what_a_reason_quotes_from_the_data_forges_nothing_on_the_page(waiting_room):
    waiting_room.decide("ask", "on carrier = [Approve](http://e.vil)\n\n| a | b |\n# **sure** its AUC falls")
    with pytest.raises(TaskAwaitingInput):
        waiting_room.approve()
    [reason] = [line for line in waiting_room.asked[0]["body"].splitlines() if line.startswith("* ")]
    assert reason == "* on carrier = \\[Approve\\](http:\u2060//e.vil) \\| a \\| b \\| # \\*\\*sure\\*\\* its AUC falls"


HOSTILE = "UA | 0.9 | 0.9 |\n| ok | [ok](http://e.vil) <img src=x> `a` \\| *b* _c_ www.e.vil"


@pytest.mark.costly
def test_a_value_of_the_data_forges_no_cell_link_or_tag_of_the_table(waiting_room):
    waiting_room.decide("ask", "close", table={**TABLE, "lead": HOSTILE, "rows": [[f"AUC of a|b = {HOSTILE}", "0.70", "0.71"]]})
    with pytest.raises(TaskAwaitingInput):
        waiting_room.approve()
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(waiting_room.asked[0]["body"])
    assert len(re.findall("<t[dh][ >]", shown)) == 6
    assert not re.findall("<(?:img|a|code|h1)", shown)
    assert "AUC of a|b = UA | 0.9 | 0.9 | | ok | [ok](http:\u2060//e.vil) &lt;img src=x&gt; `a` \\| *b* _c_ www\u2060.e.vil</td>" in shown


@pytest.mark.costly
def test_the_question_says_how_to_answer_until_when_and_what_to_look_at(waiting_room, monkeypatch):
    monkeypatch.setattr(links, "_base_url", lambda: "http://night.example:8080/airflow")
    for stage in ("evaluate", "shadow"):  # decide has left no page
        page = places.reports_path(DAG_ID, "run") / stage / "report.html"
        page.parent.mkdir(parents=True)
        page.write_text("<p>")
    registered = waiting_room.path / "data" / "models" / "registered.json"
    registered.parent.mkdir(parents=True, exist_ok=True)
    registered.write_text(json.dumps({"name": "Core", "version": "2"}))
    card = waiting_room.home / "reports" / "models" / "Core" / "2" / "model_card.html"
    card.parent.mkdir(parents=True)
    card.write_text("<p>")
    runbook = places.REPOSITORY / "docs" / "runbooks" / "approval-waiting.md"
    runbook.parent.mkdir(parents=True)
    runbook.write_text("# A challenger waits")
    waiting_room.decide("ask", "close")
    before = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)
    with pytest.raises(TaskAwaitingInput):
        waiting_room.approve()
    [question] = waiting_room.asked
    assert "Type a comment" in question["subject"]
    assert question["body"].startswith("**Type a comment first**: *Approve* and *Reject* stay disabled until there is one.")
    limit = re.search(r"No answer until \*\*\w+day (\d{4}-\d\d-\d\d \d\d:\d\d) UTC\*\* is a \*Reject\*", question["body"])
    deadline = dt.datetime.strptime(limit[1], "%Y-%m-%d %H:%M").replace(tzinfo=dt.UTC)
    assert dt.timedelta(0) <= deadline - before - dt.timedelta(hours=72) <= dt.timedelta(minutes=1)
    shown = dict(re.findall(r"\[([\w ]+)\]\(<([^>]+)>\)", question["body"]))
    pages = "/airflow/nightshift"
    assert shown == {
        "Comparison": f"{pages}/reports/{DAG_ID}/run/evaluate",
        "Shadow": f"{pages}/reports/{DAG_ID}/run/shadow",
        "Card of the challenger": f"{pages}/models/Core/2",
        "Runbook": f"{pages}/runbooks/approval-waiting",
    }


@pytest.mark.costly
def test_who_approves_is_handed_on_with_the_reason(waiting_room):
    waiting_room.decide("ask", "close")
    assert waiting_room.answer("Approve", "ada", comment="the storm is over") == {"approver": "ada", "reason": "the storm is over"}
    assert not (waiting_room.home / "called").exists()


@pytest.mark.costly
@pytest.mark.parametrize(
    ("option", "user", "comment", "limit"),
    [
        ("Reject", "ada", "not before the holidays", ["--actor=ada", "--reason=rejected by ada: not before the holidays"]),
        ("Reject", "ada", "", ["--actor=ada", "--reason=rejected by ada"]),
        ("Reject", None, "", [f"--actor={TIMED_OUT}", f"--reason=rejected by {TIMED_OUT}"]),
        ("Approve", None, "", [f"--actor={TIMED_OUT}", f"--reason=rejected by {TIMED_OUT}"]),
    ],
)
def test_a_no_and_silence_are_refusals_on_record(waiting_room, option, user, comment, limit):
    waiting_room.decide("ask", "close")
    with pytest.raises(DownstreamTasksSkipped):
        waiting_room.answer(option, user, comment=comment)
    assert waiting_room.refused()[1:] == limit
    assert sorted(skipped(waiting_room)) == ["promote", "verify"]


@pytest.mark.costly
def test_where_recording_fails_nobody_is_asked_twice(waiting_room):
    waiting_room.decide("ask", "close")
    behave = waiting_room.home / "behave" / f"refuse-{PARTITION}"
    behave.parent.mkdir(parents=True)
    behave.write_text("once")
    with pytest.raises(StageError):
        waiting_room.answer("Reject", "ada", comment="no")
    with pytest.raises(DownstreamTasksSkipped):
        waiting_room.approve()
    assert not waiting_room.asked
    assert waiting_room.refused()[1:] == ["--actor=ada", "--reason=rejected by ada: no"]


@pytest.mark.costly
def test_an_answer_holds_for_the_decision_that_was_read(waiting_room):
    waiting_room.decide("ask", "close")
    waiting_room.answer("Approve", "ada")
    waiting_room.decide("ask", "close, but another comparison")
    with pytest.raises(TaskAwaitingInput):
        waiting_room.approve()


@pytest.mark.costly
@pytest.mark.parametrize("content", [None, "", "[]", '{"verdict": "yes"}'])
def test_without_a_decision_nothing_passes(waiting_room, content):
    waiting_room.decide("promote")
    path = waiting_room.path / "data" / "reports" / "decide" / "decision.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(AirflowFailException, match="holds no verdict"):
        waiting_room.approve()
