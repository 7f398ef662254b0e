"""How long Airflow parses the DAG files of an installation with fifty use cases, one of which is broken.

Each file is parsed as Airflow's DAG processor parses it: in a process that has Airflow imported already and nothing of ours. The figure is the sum over all
files, in processor time, so that other work on the machine does not count.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = 50
TARGETS = {"dag_parse_s_50": ("<=", 2.0)}


_PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
began = time.process_time()
bag = DagBag(sys.argv[1])
print(json.dumps({"seconds": time.process_time() - began, "dags": len(bag.dags), "faults": bag.import_errors}))
"""


def main() -> dict[str, Any]:
    """Return the seconds for all files, the slowest file, and the number of DAGs."""
    with TemporaryDirectory() as directory:
        repository = Path(directory)
        declare(repository)
        parsed = [_parse(file, {**os.environ, "NIGHTSHIFT_REPOSITORY": directory}) for file in sorted((REPOSITORY / "dags").glob("*.py"))]
    seconds = [each for each, _ in parsed]
    return {"dag_parse_s_50": round(sum(seconds), 2), "slowest_file_s": round(max(seconds), 2), "dags": sum(dags for _, dags in parsed)}


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


def _parse(file: Path, environment: Mapping[str, str]) -> tuple[float, int]:
    done = subprocess.run([sys.executable, "-c", _PARSE, str(file)], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["faults"]:
        raise RuntimeError(f"{file.name} cannot be parsed: {found['faults']}")
    return found["seconds"], found["dags"]
