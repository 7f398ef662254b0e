"""How long Airflow parses the DAG files of an installation with fifty use cases, one of which is broken.

Each file is parsed as Airflow's DAG processor parses it: in a process that has Airflow imported already and nothing of ours, and whose objects of before are
frozen, as ``DagFileProcessorManager.before_run`` freezes them. Otherwise each process pays for one collection of Airflow's own objects, which Airflow avoids. The
figure is the sum over all files, in processor time, so that other work on the machine does not count.

It is compared with bare Airflow: DAGs of the same ids, schedules, parameters, tasks and edges, made in the same process of plain operators. No file is read for
these, and nothing is checked that Airflow does not check.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = 50
TARGETS = {"dag_parse_s_50": ("<=", 2.0)}


_PARSE = """
import gc, json, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, BaseOperator
gc.freeze()
began = time.process_time()
bag = DagBag(sys.argv[1])
seconds = time.process_time() - began
began = time.process_time()
for dag in bag.dags.values():
    same = {key: getattr(dag, key) for key in ("dag_id", "schedule", "catchup", "params", "default_args", "doc_md", "tags")}
    with DAG(**same):
        tasks = {task_id: BaseOperator(task_id=task_id) for task_id in dag.task_dict}
        for task_id, task in dag.task_dict.items():
            for after in task.downstream_task_ids:
                tasks[task_id] >> tasks[after]
bare = time.process_time() - began
print(json.dumps({"seconds": seconds, "bare": bare, "dags": len(bag.dags), "faults": bag.import_errors}))
"""


def main() -> dict[str, Any]:
    """Return the seconds for all files, those of bare Airflow, the slowest file, and the number of DAGs."""
    with TemporaryDirectory() as directory:
        repository = Path(directory)
        declare(repository)
        parsed = [_parse(file, {**os.environ, "NIGHTSHIFT_REPOSITORY": directory}) for file in sorted((REPOSITORY / "dags").glob("*.py"))]
    seconds, bare = sum(each.seconds for each in parsed), sum(each.bare for each in parsed)
    return {
        "dag_parse_s_50": round(seconds, 2),
        "dag_parse_bare_s_50": round(bare, 2),
        "dag_parse_ratio": round(seconds / bare, 2),
        "slowest_file_s": round(max(each.seconds for each in parsed), 2),
        "dags": sum(each.dags for each in parsed),
    }


@dataclass(frozen=True)
class _Parsed:
    """The processor time of a file, that of bare Airflow for the same DAGs, and their number."""

    seconds: float
    bare: float
    dags: int


def declare(repository: Path) -> None:
    """Write the default use case and 49 others, each as long as the worked example *fraud*, the last of them with a misspelt section."""
    (repository / "pipelines").mkdir()
    for name in ("params.yaml", "pipelines/defaults.yaml"):
        (repository / name).write_bytes((REPOSITORY / name).read_bytes())
    for number in range(1, COUNT):
        folder = repository / "use_cases" / f"table_{number}"
        folder.mkdir(parents=True)
        for name in ("params.yaml", "derived.yaml"):
            (folder / name).write_bytes((REPOSITORY / "use_cases" / "fraud" / name).read_bytes())
    (folder / "params.yaml").write_text("trian: {}\n", encoding="utf-8")


def _parse(file: Path, environment: Mapping[str, str]) -> _Parsed:
    done = subprocess.run([sys.executable, "-c", _PARSE, str(file)], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if faults := found.pop("faults"):
        raise RuntimeError(f"{file.name} cannot be parsed: {faults}")
    return _Parsed(**found)
