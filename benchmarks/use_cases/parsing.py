"""How long Airflow parses the DAG files of an installation with fifty use cases, one of which is broken.

Each file is parsed as Airflow's DAG processor parses it: in a process that has Airflow imported already and nothing of ours. The figure is the sum over all
files, in processor time, so that other work on the machine does not count.
"""

import multiprocessing
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = 50
TARGETS = {"dag_parse_s_50": ("<=", 2.0)}


def main() -> dict[str, Any]:
    """Return the seconds for all files, the slowest file, and the number of DAGs."""
    import airflow.dag_processing.dagbag  # noqa: F401  before the fork, as in Airflow's processor

    with TemporaryDirectory() as directory:
        repository = Path(directory)
        _declare(repository)
        os.environ["NIGHTSHIFT_REPOSITORY"] = directory
        with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
            parsed = pool.map(_parse, sorted((REPOSITORY / "dags").glob("*.py")), chunksize=1)
    seconds = [each for each, _ in parsed]
    return {"dag_parse_s_50": sum(seconds), "slowest_file_s": max(seconds), "dags": sum(dags for _, dags in parsed)}


def _declare(repository: Path) -> None:
    """Write the default use case and 49 others, the last of them with a misspelt section."""
    (repository / "pipelines").mkdir()
    for name in ("params.yaml", "pipelines/defaults.yaml"):
        (repository / name).write_bytes((REPOSITORY / name).read_bytes())
    flights = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    for number in range(1, COUNT):
        content = {"dataset": flights["dataset"], "features": flights["features"], "first_run": {"partition": "2013-04-01"}}
        path = repository / "use_cases" / f"table_{number}" / "params.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(content if number < COUNT - 1 else {"trian": {}}), encoding="utf-8")


def _parse(file: Path) -> tuple[float, int]:
    from airflow.dag_processing.dagbag import DagBag

    began = time.process_time()
    bag = DagBag(file)
    seconds = time.process_time() - began
    if bag.import_errors:
        raise RuntimeError(f"{file.name} cannot be parsed: {bag.import_errors}")
    return seconds, len(bag.dags)
