"""Another table, by its params.yaml alone: from its file to a promoted model, published scores, and a shift that shows.

Nothing of the code differs: a clone of this repository gets the second dataset's params.yaml and data, and every command is one that
docs/your-own-data.md names.
"""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml
from deltalake import DeltaTable

from tests.datasets import orders

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("orders")]

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINED_AS_OF = "2024-03-15"


class Shop:
    """A clone of the repository that scores orders instead of flights, with a home of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root / "repository", root / "home"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(self.root)], check=True)
        orders.prepare(self.root)
        content = orders.params(kind="parquet", path=str(self.root / "orders.parquet"))
        content["dataset"]["tables"]["products"]["source"]["path"] = str(self.root / "products.csv")
        (self.root / "params.yaml").write_text(yaml.safe_dump(content))
        run = yaml.safe_load((REPOSITORY / "run.yaml").read_text()) | {"partition": TRAINED_AS_OF}
        (self.root / "run.yaml").write_text(yaml.safe_dump(run))
        (self.root / "dvc.lock").unlink(missing_ok=True)
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, "commit", "--quiet", "--all", "--message", "Score orders"], cwd=self.root, check=True)
        self.commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.root, check=True, capture_output=True, text=True).stdout.strip()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with `command` in the clone; returns what it printed."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT", "MLFLOW_TRACKING", "GIT_"))}
        environment = {**kept, "NIGHTSHIFT_HOME": str(self.home), "PYTHONPATH": str(self.root), "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run([sys.executable, "-m", *command], cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def score_night(self, partition: str) -> None:
        """What the nightly DAG does, in its order."""
        pin = [
            "pipelines.registry.pin_run",
            "--partition",
            partition,
            "--dag-id",
            "nightly_batch_scoring",
            "--run-id",
            f"night-{partition}",
        ]
        pin += ["--run-ref", f"refs/runs/nightly_batch_scoring/night-{partition}", "--git-commit", self.commit]
        self.run(*pin, "--opened-at", f"{partition}T02:00:00+00:00")
        self.run("dvc", "repro", "validate_scores")  # with all that comes before it
        self.run("pipelines.scoring.publish_scores", "--scores", "data/scores/scores.parquet", "--gate", "data/reports/validate_scores")

    def published(self, query: str) -> list[tuple[object, ...]]:
        """The answer to an SQL query over ``scores`` and ``orders``."""
        connection = duckdb.connect()
        connection.register("scores", DeltaTable(self.home / "published" / "scores").to_pyarrow_dataset())
        connection.register("orders", connection.sql(f"SELECT * FROM '{self.root}/orders.parquet'").to_arrow_table())
        return connection.sql(query).fetchall()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.run("dvc", "repro", "evaluate")
    models = "data/models"
    register = ["pipelines.registry.register", "--model", f"{models}/model.skops", "--onnx", f"{models}/model.onnx"]
    shop.run(*register, "--report", "data/reports/evaluate", "--registered", f"{models}/registered.json")
    promote = ["pipelines.registry.promote", "--registered", f"{models}/registered.json", "--expect", "none"]
    shop.run(*promote, "--actor", "test", "--reason", "first champion")
    for partition in (TRAINED_AS_OF, "2024-04-20"):
        shop.score_night(partition)
    return shop


def test_every_order_of_the_night_is_published_once(shop: Shop) -> None:
    expected = shop.published("SELECT placed_at::DATE::VARCHAR, count(*) FROM orders GROUP BY 1")
    found = shop.published("SELECT partition, count(*), count(DISTINCT order_id), any_value(model_name) FROM scores GROUP BY 1 ORDER BY 1")
    assert [(partition, rows) for partition, rows, _, _ in found] == [
        (partition, rows) for partition, rows in sorted(expected) if partition in (TRAINED_AS_OF, "2024-04-20")
    ]
    assert all(rows == distinct and name == "Orders_Returns" for _, rows, distinct, name in found)


def test_the_scores_tell_what_comes_back(shop: Shop) -> None:
    rows = shop.published(
        f"SELECT score, refund IS NOT NULL FROM scores JOIN orders USING (order_id) WHERE partition = '{TRAINED_AS_OF}' ORDER BY order_id"
    )
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score([outcome for _, outcome in rows], [score for score, _ in rows]) > 0.6


def test_the_known_shift_shows_as_more_returns_than_expected(shop: Shop) -> None:
    assert dt.date(2024, 4, 20) > orders.SHIFT
    gaps = dict(
        shop.published(
            "SELECT partition, avg((refund IS NOT NULL)::INT) - avg(score) FROM scores JOIN orders USING (order_id) GROUP BY 1"  # type: ignore[arg-type]
        )
    )
    assert gaps["2024-04-20"] > 0.05  # type: ignore[operator]
    assert abs(gaps[TRAINED_AS_OF]) < 0.05  # type: ignore[operator]
