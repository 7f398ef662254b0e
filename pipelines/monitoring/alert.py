"""Ask Airflow for a retraining, over its REST API, where the governor has decided for one.

Reads   data/reports/govern/decision.json; NIGHTSHIFT_API_URL, NIGHTSHIFT_API_USER and NIGHTSHIFT_API_PASSWORD from the environment
Effect  the run ``drift__<champion version>__<partition>`` of drift_triggered_retraining; there is one of it, however often it is asked for.
        Once it is there the journal says so, by which the governor knows of it: a yes that did not get through is said again the next night
Writes  data/reports/alert/report.json: what was asked for and what came of it
Fails   for good when the API refuses the call or a run of that id is for something else; is retried when the API or the journal's database
        does not answer

An answer that was lost on its way is not a reason to ask for a second run: the run is read back by its id.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict

from pipelines.lib.core import home
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.params import Section, current_use_case, load_section, parse_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.stage import log, stage
from pipelines.lib.loop.airflow_api import LATER, Api, detail
from pipelines.lib.records.journal import Journal, Verdict

DAG = "drift_triggered_retraining"
LONGEST_REASON = 500
ACTOR = "monitor"


class Alert(Section):
    """`timeout_s`: how long the API may leave a call without a sign of life."""

    timeout_s: float


class Decision(Section):
    """The fields of the governor's decision that matter here."""

    model_config = ConfigDict(extra="ignore")

    name: str
    retrain: bool
    reason: str
    partition: str
    champion_version: str | None = None


def alert(decision: Decision, api: Api, dag_id: str = DAG) -> str:
    """See to it that the run of `dag_id` which `decision` asks for exists; return ``created`` or ``existed``."""
    run_id, runs = run_id_of(decision), f"/api/v2/dags/{dag_id}/dagRuns"
    conf = {"champion_version": decision.champion_version, "reason": decision.reason[:LONGEST_REASON], "source": ACTOR}
    body = {"dag_run_id": run_id, "logical_date": None, "partition_key": decision.partition, "conf": conf}
    try:
        status, answer = api.call("POST", runs, body)
        answer_text = f"{status} {detail(answer)}"
    except TransientError as error:
        status, answer, answer_text = 0, {}, str(error)
    if status in (200, 201) and answer.get("dag_run_id") == run_id:
        return "created"
    if 300 <= status < 500 and status not in (409, *LATER):
        raise ConfigError(
            f"{api.url} refuses to start {run_id}: {answer_text}; fix what it names, and trigger {dag_id} yourself if it is urgent"
        )
    status, run = api.call("GET", f"{runs}/{run_id}")
    if status != 200:
        raise TransientError(f"{run_id} was not started ({answer_text}), and reading it back gave {status} {detail(run)}; try again")
    found = (run.get("partition_key"), (run.get("conf") or {}).get("champion_version"))
    wanted = (decision.partition, decision.champion_version)
    if found != wanted:
        raise ConfigError(f"{run_id} exists and is for partition and champion {found}, expected {wanted}; delete it and clear this task")
    return "existed"


def run_id_of(decision: Decision) -> str:
    """Return the id of the run: the same for everybody who asks for it. Raises `DataError` for a version that is not a number,
    `ConfigError` for no date.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,8}", decision.champion_version or "", re.ASCII):
        raise DataError(f"the decision names champion version {decision.champion_version!r}; run govern again")
    return f"drift__{decision.champion_version}__{parse_partition(decision.partition).isoformat()}"


@stage("alert")
def main(
    *,
    decision: Annotated[Path, "what the governor wrote"] = Path("data/reports/govern/decision.json"),
    report: Annotated[Path, "directory of the record of what was asked for"] = Path("data/reports/alert"),
) -> None:
    """Act on the decision, or say that there is nothing to do."""
    try:
        decided = parse_section(json.loads(decision.read_text(encoding="utf-8")), Decision, decision.name)
    except (OSError, ValueError) as error:
        raise DataError(f"{decision} is not a decision ({type(error).__name__}: {error}); run govern first") from None
    record: dict[str, Any] = {"retrain": decided.retrain, "run_id": None, "state": "not asked", "note": "no retraining asked for"}
    if decided.retrain:
        params = load_section("alert", Alert)
        url, user, password = (os.environ.get(f"NIGHTSHIFT_API_{name}", "") for name in ("URL", "USER", "PASSWORD"))
        dag_id = f"{DAG}{current_use_case().suffix}"
        run_id, state = run_id_of(decided), alert(decided, Api(url, user, password, params.timeout_s), dag_id)
        asked = Verdict(decided.name, run_id, decided.partition, decided.champion_version, "", "asked", decided.reason, ACTOR)
        Journal(home.ledger_url()).record_verdict(asked)
        answer_text = "asked for" if state == "created" else "was asked for before"
        record |= {"run_id": run_id, "state": state, "note": f"retraining {answer_text}: {run_id}"}
    log.info("%s", record["note"])
    with replacing(report / "report.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
