"""A clone of this repository with a home of its own, so that tests and benchmarks run real nights and touch nothing of the user's."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.lib.core.yaml_text import parse_yaml
from tests.dag_tasks import task_ids

SOURCE = Path(__file__).resolve().parents[1]
DAG_ID = "nightly_batch_scoring"
TASKS = task_ids(DAG_ID)
_OF_THE_RUN = "run_id, run_ref, git_commit, scored_at"  # what differs between two runs of one night


class RealRepository:
    """The working tree of this repository as a committed clone under `directory`; `changes` go into its ``params.yaml``."""

    def __init__(self, directory: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.root, self.home = directory / "repository", directory / "home"
        _git("clone", "--quiet", str(SOURCE), str(self.root), cwd=directory)
        tracked = _git("ls-files", "--cached", "--others", "--exclude-standard", cwd=SOURCE).splitlines()
        for name in tracked:  # what is not committed yet is tested too
            source, target = SOURCE / name, self.root / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
            else:
                target.unlink(missing_ok=True)
        params = parse_yaml((self.root / "params.yaml").read_text(encoding="utf-8"))
        for section, values in (changes or {}).items():
            params[section].update(values)
        if changes:
            (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        _git("add", "--all", cwd=self.root)
        _git(
            "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--allow-empty", "-m", "As it is", cwd=self.root
        )

    def environment(self) -> dict[str, str]:
        """Return the environment for processes of this clone; DVC's cache is the user's, so that nothing is trained twice."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT", "MLFLOW_TRACKING", "AIRFLOW", "GIT_"))}
        return {
            **kept,
            "NIGHTSHIFT_HOME": str(self.home),
            "NIGHTSHIFT_REPOSITORY": str(self.root),
            "NIGHTSHIFT_DVC_CACHE": str(SOURCE / ".dvc" / "cache"),
            "PYTHONPATH": os.pathsep.join([str(self.root), str(self.root / "plugins")]),
            "DVC_NO_ANALYTICS": "1",
        }

    def train(self) -> None:
        """Make the first champion, as ``make demo`` does."""
        code = "from deploy.embedded.first_champion import train_first_champion; train_first_champion(print)"
        subprocess.run([sys.executable, "-c", code], cwd=self.root, env=self.environment(), check=True)

    def published(self, partition: str) -> list[tuple[Any, ...]]:
        """Return the published rows of a night in order of their values, without what differs from run to run."""
        return self._query(f"SELECT * EXCLUDE ({_OF_THE_RUN}) FROM scores WHERE partition = ? ORDER BY ALL", partition)

    def publisher(self, partition: str) -> set[str]:
        """Return the runs whose rows per night consists of."""
        return {str(row[0]) for row in self._query("SELECT DISTINCT run_id FROM scores WHERE partition = ?", partition)}

    def _query(self, query: str, partition: str) -> list[tuple[Any, ...]]:
        import duckdb
        from deltalake import DeltaTable

        connection = duckdb.connect()
        connection.register("scores", DeltaTable(self.home / "published" / "scores").to_pyarrow_dataset())
        return connection.execute(query, [partition]).fetchall()


def _git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout
