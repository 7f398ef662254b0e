"""Another table, by its params.yaml alone: from its file to a promoted model, published scores, a vector index with evidence, and a shift that shows.

Nothing of the code differs: a clone of this repository gets the second dataset's params.yaml and data, and every command is one that
docs/how-to/your-own-data.md names.
"""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable

from pipelines.lib.champions.registry import connect
from tests.datasets import orders
from tests.pipelines.registry.test_register import TAGS

pytestmark = [pytest.mark.integration, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINED_AS_OF = "2024-03-15"
NIGHT = "2024-04-20"
NAME = "orders_model"
ENCODER_REGISTERED = "data/encoder/registered.json"
EVIDENCE = (
    "pipelines.scoring.publish_evidence",
    "--evidence",
    "data/evidence/evidence.parquet",
    "--report",
    "data/reports/attach_evidence",
)
PUBLISH = ("pipelines.scoring.publish_scores", "--scores", "data/scores/scores.parquet", "--gate", "data/reports/validate_scores")


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

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with `command` in the clone, however it ends."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT", "MLFLOW_TRACKING", "GIT_"))}
        environment = {**kept, "NIGHTSHIFT_HOME": str(self.home), "PYTHONPATH": str(self.root), "DVC_NO_ANALYTICS": "1"}
        return subprocess.run([sys.executable, "-m", *command], cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def run(self, *command: str) -> None:
        """Run `python -m` with `command` in the clone."""
        done = self.attempt(*command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def pin(self, partition: str, run_id: str, *options: str, dag_id: str = "nightly_batch_scoring") -> None:
        """Open the run `run_id` of `partition`."""
        named = ["--partition", partition, "--dag-id", dag_id, "--run-id", run_id, "--run-ref", f"refs/runs/{dag_id}/{run_id}"]
        self.run("pipelines.registry.pin_run", *named, "--git-commit", self.commit, "--opened-at", f"{partition}T02:00:00+00:00", *options)

    def score_night(self, partition: str) -> None:
        """Run the stages of the nightly DAG, in its order."""
        self.pin(partition, f"night-{partition}", "--index")
        self.run("dvc", "repro", "validate_scores")  # with all that comes before it
        self.run(*PUBLISH)
        self.run("dvc", "repro", "--single-item", "attach_evidence")
        self.run(*EVIDENCE)

    def build_index(self, partition: str) -> None:
        """Run the stages of the DAG vector_index_rebuild, in its order."""
        self.pin(partition, f"index-{partition}", "--model", "encoder", "--index", "--rebuild", "auto", dag_id="vector_index_rebuild")
        self.run("dvc", "repro", "evaluate_index")
        self.run("pipelines.index.publish_index", "--build", "data/index/build", "--report", "data/reports/evaluate_index")

    def published(self, query: str) -> list[tuple[object, ...]]:
        """Return the answer to an SQL query over ``scores``, ``evidence`` and ``orders``."""
        connection = duckdb.connect()
        for table in ("scores", "evidence"):
            connection.register(table, DeltaTable(self.home / "published" / table).to_pyarrow_dataset())
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
    shop.run("dvc", "repro", "evaluate_encoder")
    register = ["pipelines.registry.register", "--encoder", "data/encoder/encoder.onnx", "--report", "data/reports/evaluate_encoder"]
    shop.run(*register, "--registered", ENCODER_REGISTERED)
    promote = ["pipelines.registry.promote", "--registered", ENCODER_REGISTERED, "--expect", "none", "--actor", "test", "--reason", "first"]
    shop.run(*promote, "--evaluation", "data/reports/evaluate_encoder/evaluation.json")
    shop.score_night(TRAINED_AS_OF)
    shop.build_index(NIGHT)
    shop.score_night(NIGHT)
    return shop


def test_every_order_of_the_night_is_published_once(shop: Shop) -> None:
    expected = shop.published("SELECT placed_at::DATE::VARCHAR, count(*) FROM orders GROUP BY 1")
    found = shop.published("SELECT partition, count(*), count(DISTINCT order_id), any_value(model_name) FROM scores GROUP BY 1 ORDER BY 1")
    assert [(partition, rows) for partition, rows, _, _ in found] == [
        (partition, rows) for partition, rows in sorted(expected) if partition in (TRAINED_AS_OF, NIGHT)
    ]
    assert all(rows == distinct and name == NAME for _, rows, distinct, name in found)


def test_the_scores_tell_what_comes_back(shop: Shop) -> None:
    rows = shop.published(
        f"SELECT score, refund IS NOT NULL FROM scores JOIN orders USING (order_id) WHERE partition = '{TRAINED_AS_OF}' ORDER BY order_id"
    )
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score([outcome for _, outcome in rows], [score for score, _ in rows]) > 0.6


def test_the_known_shift_shows_as_more_returns_than_expected(shop: Shop) -> None:
    assert dt.date.fromisoformat(NIGHT) > orders.SHIFT
    gaps = dict(
        shop.published(
            "SELECT partition, avg((refund IS NOT NULL)::INT) - avg(score) FROM scores JOIN orders USING (order_id) GROUP BY 1"  # type: ignore[arg-type]
        )
    )
    assert gaps[NIGHT] > 0.05  # type: ignore[operator]
    assert abs(gaps[TRAINED_AS_OF]) < 0.05  # type: ignore[operator]


def test_the_riskiest_orders_have_evidence_from_the_first_index_on(shop: Shop) -> None:
    assert shop.published("SELECT DISTINCT partition FROM evidence") == [(NIGHT,)], "the night before the first index goes on without"
    [(rows, riskiest, lowest)] = shop.published(
        "SELECT count(*), count(DISTINCT order_id), min(score) FROM evidence JOIN scores USING (run_ref, partition, order_id, score)"
    )
    assert (rows, riskiest) == (500, 50)
    [(higher,)] = shop.published(f"SELECT count(*) FROM scores WHERE partition = '{NIGHT}' AND score >= {lowest}")
    assert higher == 50, "they are the highest scores"


def test_the_evidence_tells_how_past_orders_ended(shop: Shop) -> None:
    known = (dt.date.fromisoformat(NIGHT) - dt.timedelta(days=3)).isoformat()
    [(rows, wrong, early)] = shop.published(
        "SELECT count(*), count(*) FILTER (evidence.outcome != (past.refund IS NOT NULL)), count(*) FILTER (neighbour_partition < "
        f"'{known}' AND neighbour_partition = past.placed_at::DATE::VARCHAR) FROM evidence JOIN orders past ON neighbour_order_id = past.order_id"
    )
    assert (rows, wrong, early) == (500, 0, 500)
    [(differing,)] = shop.published(
        "SELECT count(*) FROM (SELECT avg(outcome::INT) AS rate, any_value(neighbour_rate) AS told FROM evidence GROUP BY order_id) WHERE abs(rate - told) > 1e-6"
    )
    assert differing == 0


def test_a_version_carries_what_rebuilds_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(shop.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert set(connect().get_model_version(NAME, "1").tags) == {"sha256", *TAGS}


def torn(file: Path) -> None:
    """Cut `file` in half, as an interrupted copy does."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut(until: str) -> Callable[[Path], None]:
    """Return a whole file, written from a table that was read too early: its rows end before `until`."""
    return lambda file: pq.write_table(pq.read_table(file, filters=[("placed_at", "<", dt.datetime.fromisoformat(until))]), file)


NOT_DELIVERED = f"expect_column_max_to_be_between on 'placed_at': 2024-04-19 (expected: min_value={NIGHT}"


@pytest.mark.parametrize(
    ("case", "fault", "stage", "error", "message"),
    [
        ("torn", torn, "ingest_batch", "DataError", "orders.parquet is not a whole Parquet file"),
        ("cut", cut(f"{NIGHT}T10:00:00"), "validate_batch", "GateFailed", "expect_table_row_count_to_be_between: "),
        ("late", cut(f"{NIGHT}T00:00:00"), "validate_batch", "GateFailed", NOT_DELIVERED),
    ],
    ids=["torn", "cut", "late"],
)
def test_a_broken_source_stops_the_next_attempt_and_what_was_published_stays(
    shop: Shop, case: str, fault: Callable[[Path], None], stage: str, error: str, message: str
) -> None:
    source = shop.root / "orders.parquet"
    whole, everything = source.read_bytes(), "SELECT * FROM scores ORDER BY ALL"
    rows, version = shop.published(everything), DeltaTable(shop.home / "published" / "scores").version()
    shutil.rmtree(shop.root / "data")  # every run has a workspace of its own, which starts without data
    fault(source)
    try:
        shop.pin(NIGHT, f"broken-{case}")
        assert shop.attempt("dvc", "repro", "validate_scores").returncode != 0
        failure = json.loads((shop.root / "failure.json").read_text())
        assert (failure["stage"], failure["error"], failure["retryable"]) == (stage, error, False)
        assert message in failure["message"]
        assert shop.attempt(*PUBLISH).returncode != 0
    finally:
        source.write_bytes(whole)
    assert DeltaTable(shop.home / "published" / "scores").version() == version
    assert shop.published(everything) == rows
