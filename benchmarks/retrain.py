"""A whole retraining through real Airflow on six months of flights: wall time, and the share that is neither training nor feature computation.

A champion of March meets July: one night is scored, so that there is something to shadow, and the retraining as of that night is triggered and
followed until it is closed. In a clone, a home and a DVC cache of its own, so that nothing is restored from an earlier run.
"""

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.night import computed_by
from deploy.embedded.server import Server
from tests.real_repository import DAG_ID, RealRepository

RETRAINING = "drift_triggered_retraining"
PARTITION = "2013-07-01"
_TIMEOUT_S = 1800


def main() -> dict[str, Any]:
    """Measure one run; seconds."""
    with tempfile.TemporaryDirectory(prefix="nightshift-retrain-") as directory:
        repository = RealRepository(Path(directory))
        repository.train()
        with Server(repository.home, repository=repository.root, schedule=False, wait_for_dags=(DAG_ID, RETRAINING)) as server:
            client = server.client()
            for dag_id, run_id in ((DAG_ID, "night"), (RETRAINING, "retraining")):
                client.unpause(dag_id)
                client.trigger(dag_id, PARTITION, run_id=run_id)
                state = client.follow(dag_id, [run_id], timeout_s=_TIMEOUT_S, check=server.check)[run_id]
                if state != "success":
                    raise RuntimeError(f"{dag_id} ended as {state}: {client.run(dag_id, run_id)['note']}")
            run, tasks = client.run(RETRAINING, "retraining"), client.tasks(RETRAINING, "retraining")
            stages = computed_by(repository.home, "retraining")
    wall = (datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["start_date"])).total_seconds()
    work = stages["train"] + stages["featurize_history"]
    return {
        "retrain_wall_s": round(wall, 1),
        "share_other": round(1 - work / wall, 3),
        "outcome": run["note"],
        "tasks_s": {task["task_id"]: round(float(task["duration"] or 0), 1) for task in tasks},
        "computed_s": stages,
    }
