"""Evaluation of whole models on files: a good one passes and is compared, each poisoned one is refused with its own reason."""

import datetime as dt
import io
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from onnx import helper
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.challengers.evaluation import Metrics
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.measures.binning import categorical_binning, numeric_binning
from pipelines.lib.measures.histogram import count
from pipelines.lib.models import skops_file
from pipelines.lib.models.decision_rule import DecisionRule
from pipelines.lib.models.golden import Golden, check
from pipelines.lib.models.inference import load_model
from pipelines.lib.models.profile import SCORE, Noise, Profile, Reference
from pipelines.lib.records.journal import Journal
from pipelines.training.evaluate import Evaluate, evaluate, faults, main
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from tests import evaluations
from tests.page_rules import broken_rules

NAMES = ("a", "b", "c", "d")
SIGNATURE = Signature(NAMES, "0" * 64)
FIRST = dt.date(2013, 3, 1)
PARTITION = "2013-04-01"
EVALUATE = {
    "slices": ["side"],
    "slice_minimum_rows": 50,
    "minimum_auc": 0.6,
    "parity_tolerance": 1e-5,
    "latency_p99_limit_ms": 1000.0,
    "golden": [{"change": {"a": 3.0}, "expect": "higher"}],
}
LIMITS = Evaluate.model_validate_json(json.dumps(EVALUATE))
HALF = DecisionRule(at=0.5)


@cache
def history(rows: int = 6_000, seed: int = 0) -> History:
    """Return a month of nights of 200 rows; the outcome depends on `a`."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    labels = (features[:, 0] + rng.normal(size=rows) > 0).astype(np.int8)
    nights = [(FIRST + dt.timedelta(days=30 * row // rows)).isoformat() for row in range(rows)]
    side = np.where(features[:, 1] > 0, "left", "right")
    return History(features, labels, pa.table({"partition": nights, "side": side}), NAMES)


@cache
def forest(trees: int = 20, *, flipped: bool = False) -> RandomForestClassifier:
    """Return a forest that is fitted on another month; if `flipped`, on the opposite of each label."""
    other = history(seed=1)
    return RandomForestClassifier(trees, max_depth=4, random_state=42).fit(other.features, 1 - other.labels if flipped else other.labels)


def exported(model: RandomForestClassifier, profile: Profile | None = None) -> onnx.ModelProto:
    return onnx.load_from_string(onnx_bytes(model, profile))


@cache
def onnx_bytes(model: RandomForestClassifier, profile: Profile | None = None) -> bytes:
    return export_onnx(model, SIGNATURE, ExportOnnx(opset=22), profile)


@cache
def skops_bytes(model: RandomForestClassifier) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        skops_file.dump(model, Path(scratch) / "model.skops")
        return (Path(scratch) / "model.skops").read_bytes()


@cache
def history_bytes() -> bytes:
    """Return the file of the history, as `featurize_history` writes it."""
    given = history()
    table = given.rows.append_column("label", pa.array(given.labels.astype(bool)))
    for index, name in enumerate(NAMES):
        table = table.append_column(name, pa.array(given.features[:, index]))
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({KEY: SIGNATURE.to_json()}), file)
    return file.getvalue()


@cache
def params_text() -> str:
    params = parse_yaml((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["evaluate"] = EVALUATE
    params["dataset"]["label"]["name"] = "label"
    return yaml.safe_dump(params)


@cache
def trained_until(date: str) -> Profile:
    """Return the profile of a model that has trained on the nights before `date`."""
    columns = {**dict(zip(NAMES, history().features.T, strict=True)), SCORE: np.linspace(0, 1, 6_000, dtype=np.float32)}
    binnings = {name: numeric_binning(name, values, bins=4) for name, values in columns.items()}
    counted = count(columns, list(binnings.values())).counts
    references = [Reference(binnings[name], counted[name], 0.0, Noise(0.0, 0.0, 0.0)) for name in columns]
    return Profile("2013-01-01", date, 6_000, 7, 0.0001, tuple(references[:-1]), references[-1], None)


class Files:
    """A workspace with a history and a model, as the stages before `evaluate` leave it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("models", "champion"):
            (root / folder).mkdir()
        (root / "params.yaml").write_text(params_text(), encoding="utf-8")
        self.pin()
        (root / "history.parquet").write_bytes(history_bytes())
        self.put(forest())

    def pin(self, **model: object) -> None:
        """Write the run file; `model` are its fields about the champion."""
        content = {"partition": PARTITION, "model": {"path": "champion/model.onnx", "name": "Core", **model}}
        (self.root / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    def put(self, model: RandomForestClassifier, proto: onnx.ModelProto | None = None) -> None:
        """Write the challenger `model`, and `proto` as its ONNX if that differs from the export."""
        (self.root / "models" / "model.skops").write_bytes(skops_bytes(model))
        (self.root / "models" / "model.onnx").write_bytes((proto or exported(model)).SerializeToString())

    def crown(self, model: RandomForestClassifier, *, until: str | None = "2013-03-01", **pinned: object) -> str:
        """Write the champion, which is trained on the nights before `until` (None: without a profile); return its digest."""
        path = self.root / "champion" / "model.onnx"
        path.write_bytes(exported(model, trained_until(until) if until else None).SerializeToString())
        self.pin(**{"version": "1", "sha256": sha256_of(path), **pinned})
        return sha256_of(path)

    def evaluate(self) -> int:
        """Run the stage; return its exit code."""
        paths = {"features": "history.parquet", "model": "models/model.skops", "onnx": "models/model.onnx", "champion": "champion"}
        return main([word for name, path in {**paths, "report": "reports/evaluate"}.items() for word in (f"--{name}", path)])

    def read(self, name: str) -> dict:
        """Return a JSON file of the report."""
        return json.loads((self.root / "reports" / "evaluate" / f"{name}.json").read_text(encoding="utf-8"))

    def failure(self) -> dict:
        """Return the stage's record of its failure."""
        return json.loads((self.root / "failure.json").read_text(encoding="utf-8"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, costs_once: None) -> Files:
    made = Files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("compared", [False, True])
def test_slices_of_dates_and_of_nulls_reach_every_report(files: Files, compared: bool) -> None:
    """JSON has no dates, and a null is neither less nor more than a text."""
    table = pq.read_table("history.parquet")
    shipped = [None if row % 3 else FIRST for row in range(table.num_rows)]
    table = table.append_column("shipped", pa.array(shipped)).append_column("items", pa.array([None, 2**53 + 1] * (table.num_rows // 2)))
    side = pa.array([None if row % 2 else value for row, value in enumerate(table["side"].to_pylist())])
    pq.write_table(table.set_column(table.column_names.index("side"), "side", side), "history.parquet")
    params = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    params["evaluate"]["slices"] = ["shipped", "items", "side"]
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    if compared:
        files.crown(forest(5))
    assert files.evaluate() == 0
    found = files.read("evaluation")
    for parts in [found["slices"], *([found["comparison"]["slices"]] if compared else [])]:
        assert [(part["column"], part["value"]) for part in parts] == [
            ("shipped", "2013-03-01"), ("shipped", None), ("items", 2**53 + 1), ("items", None), ("side", "left"), ("side", "right"), ("side", None),
        ]  # fmt: skip


@pytest.mark.costly
@pytest.mark.parametrize("compared", [False, True])
def test_a_slice_of_a_declared_category_has_its_value_not_its_code(files: Files, compared: bool) -> None:
    """The pages named it ``d = 1.0``. The history has the codes, and the profile of the challenger has the values."""
    table = pq.read_table("history.parquet")
    codes = pa.array(np.arange(table.num_rows) % 2, pa.float32())
    pq.write_table(table.set_column(table.column_names.index("d"), "d", codes), "history.parquet")
    profile, declared = trained_until("2013-03-01"), categorical_binning("d", ["web", "app"])
    columns = [replace(of, binning=declared, counts=(1, 1, 0, 0)) if of.binning.name == "d" else of for of in profile.features]
    files.put(forest(), exported(forest(), replace(profile, features=tuple(columns))))
    params = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    params["evaluate"]["slices"] = ["d"]
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    if compared:
        files.crown(forest(5))
    assert files.evaluate() == 0
    found = files.read("evaluation")
    for parts in [found["slices"], *([found["comparison"]["slices"]] if compared else [])]:
        assert [part["value"] for part in parts] == ["app", "web"]


def test_evaluation_judges_slices_separately() -> None:
    given = history()
    result = evaluate(given, forest().predict_proba(given.features)[:, 1].astype(np.float32), 1e-7, LIMITS, HALF)
    assert result.quality_interval is not None
    low, high = result.quality_interval
    assert 0.7 < low < result.metrics.auc < high
    assert {(row.column, row.value) for row in result.slices} == {("side", "left"), ("side", "right")}
    assert sum(row.rows for row in result.slices) == sum(result.scores) == 6_000
    assert faults(result.metrics, (), 0.01, LIMITS) == ()


def test_an_unknown_slice_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'nowhere'"):
        evaluate(history(), np.full(6_000, 0.5, dtype=np.float32), 0, LIMITS.model_copy(update={"slices": ("nowhere",)}), HALF)


@pytest.mark.parametrize(
    ("figures", "p99_ms", "fault"),
    [
        ({"auc": 0.55, "parity_max_difference": 0.0}, 0.01, "AUC"),
        ({"auc": None, "parity_max_difference": 0.0}, 0.01, "AUC"),
        ({"auc": 0.7, "parity_max_difference": 0.01}, 0.01, "differ"),
        ({"auc": 0.7, "parity_max_difference": 0.0}, 2_000, "99th percentile"),
    ],
)
def test_each_limit_can_stop_a_model(figures: dict[str, float | None], p99_ms: float, fault: str) -> None:
    found = faults(Metrics(**vars(evaluations.SOUND) | figures), (), p99_ms, LIMITS)
    assert len(found) == 1
    assert fault in found[0]


def test_a_misspelt_holdout_is_named_and_not_tried_again(files: Files) -> None:
    text = (files.root / "params.yaml").read_text(encoding="utf-8")
    (files.root / "params.yaml").write_text(text.replace("holdout_days:", "holdout_day:"), encoding="utf-8")
    assert files.evaluate() == 1
    assert (files.failure()["error"], files.failure()["retryable"]) == ("ConfigError", False)
    assert "train.holdout_days: Field required" in files.failure()["message"]


@pytest.mark.costly
def test_a_good_model_without_a_champion_passes(files: Files) -> None:
    assert files.evaluate() == 0
    evaluation = files.read("evaluation")
    assert evaluation["comparison"] is None
    assert files.read("comparison") is None
    assert evaluation["since"] == "2013-03-17"  # as of 1 April, one day of delay and fourteen of holdout
    assert evaluation["metrics"]["rows"] == 14 * 200
    assert check(load_model(files.root / "models" / "model.onnx"), Golden.from_json(json.dumps(files.read("golden")))) == []
    page = (files.root / "reports" / "evaluate" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "champion of the time" not in page
    assert evaluation["trained_on"] == {"rows": 6_000, "rows_per_tree": 6_000}


@pytest.mark.costly
def test_how_many_rows_the_trees_have_learned_from_is_logged_and_shown(files: Files) -> None:
    other = history(seed=1)
    files.put(RandomForestClassifier(20, max_depth=4, max_samples=1_500, random_state=42).fit(other.features, other.labels))
    assert files.evaluate() == 0
    figures = files.read("metrics")
    assert (figures["training_rows"], figures["training_rows_per_tree"]) == (6_000, 1_500)
    page = (files.root / "reports" / "evaluate" / "report.html").read_text(encoding="utf-8")
    assert "1,500 rows that were drawn from all 6,000" in page


@pytest.mark.costly
def test_versioned_outputs_are_the_same_each_time(files: Files) -> None:
    files.crown(forest(5))
    digests = []
    for _ in range(2):
        assert files.evaluate() == 0
        digests.append({path.name: sha256_of(path) for path in (files.root / "reports" / "evaluate").iterdir()})
    assert digests[0] == digests[1]


@pytest.mark.costly
def test_the_challenger_is_compared_with_the_champion_on_the_same_rows(files: Files) -> None:
    digest = files.crown(forest(flipped=True), degraded=True, instead_of="2")
    assert files.evaluate() == 0
    found = files.read("comparison")
    assert (found["version"], found["sha256"], found["degraded"], found["instead_of"]) == ("1", digest, True, "2")
    assert found["champion"]["rows"] == found["challenger"]["rows"] == 14 * 200
    assert found["champion"]["auc"] < 0.5 < found["challenger"]["auc"]
    assert found["quality_difference"]["low"] > 0.4
    assert found["nights_won"] == found["nights"] == 14
    measured = json.loads((files.root / "reports" / "latency.json").read_text(encoding="utf-8"))
    assert measured["champion"]["sha256"] == digest
    assert min(measured["challenger"][figure] for figure in ("p50_us", "p99_us", "memory_mib", "size_mib")) > 0
    page = (files.root / "reports" / "evaluate" / "report.html").read_text(encoding="utf-8")
    assert "champion of the time" in page
    assert not broken_rules(page)


@pytest.mark.costly
def test_rows_that_a_newer_champion_has_learned_from_are_left_out(files: Files) -> None:
    files.crown(forest(5), until="2013-03-25")
    assert files.evaluate() == 0
    found = files.read("comparison")
    assert (found["since"], found["nights"], found["champion"]["rows"]) == ("2013-03-25", 6, 6 * 200)
    assert files.read("evaluation")["metrics"]["rows"] == 14 * 200, "the challenger itself is judged on all that it has not seen"


@pytest.mark.costly
@pytest.mark.parametrize(("until", "fault"), [("2013-04-01", "the 0 labelled rows from 2013-04-01 on"), (None, "carries no profile")])
def test_without_rows_that_neither_has_learned_from_there_is_no_comparison(files: Files, until: str | None, fault: str) -> None:
    files.crown(forest(5), until=until)
    assert files.evaluate() == 0
    assert fault in files.read("comparison")["fault"]


def test_an_altered_champion_stops_the_run(files: Files) -> None:
    files.crown(forest(5))
    files.pin(version="1", sha256="f" * 64)
    assert files.evaluate() == 1
    assert files.failure()["error"] == "ModelError"
    assert "pinned was ffff" in files.failure()["message"]


@pytest.mark.costly
def test_a_champion_of_other_features_cannot_be_compared_with(files: Files) -> None:
    files.crown(forest())
    path = files.root / "champion" / "model.onnx"
    path.write_bytes(export_onnx(forest(), Signature(NAMES, "1" * 64), ExportOnnx(opset=22), trained_until("2013-03-01")))
    files.pin(version="1", sha256=sha256_of(path))
    assert files.evaluate() == 0
    assert "cannot be compared with: the model takes 4 features" in files.read("comparison")["fault"]


def _flip(files: Files) -> None:
    files.put(forest(flipped=True))


def _not_a_number(files: Files) -> None:
    proto = exported(forest())
    _rename_output(proto, "probabilities", "finite")
    nan = helper.make_node("Constant", [], ["nan"], value=helper.make_tensor("nan", onnx.TensorProto.FLOAT, [1], [np.nan]))
    proto.graph.node.extend([nan, helper.make_node("Add", ["finite", "nan"], ["probabilities"])])
    files.put(forest(), proto)


def _too_wide(files: Files) -> None:
    wide = RandomForestClassifier(5, random_state=0).fit(np.zeros((10, 5), dtype=np.float32), np.arange(10) % 2)
    proto = onnx.load_from_string(export_onnx(wide, Signature((*NAMES, "e"), "0" * 64), ExportOnnx(opset=22)))
    proto.metadata_props[0].value = SIGNATURE.to_json()  # it claims to take four features, and takes five
    files.put(forest(), proto)


def _of_other_features(files: Files) -> None:
    wide = RandomForestClassifier(5, random_state=0).fit(np.zeros((10, 5), dtype=np.float32), np.arange(10) % 2)
    files.put(forest(), onnx.load_from_string(export_onnx(wide, Signature((*NAMES, "e"), "0" * 64), ExportOnnx(opset=22))))


def _not_what_was_trained(files: Files) -> None:
    files.put(forest(), exported(forest(19)))


def _torn(files: Files) -> None:
    path = files.root / "models" / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def _contradicts(files: Files) -> None:
    text = (files.root / "params.yaml").read_text(encoding="utf-8")
    (files.root / "params.yaml").write_text(text.replace("expect: higher", "expect: lower"), encoding="utf-8")


def _rename_output(proto: onnx.ModelProto, old: str, new: str) -> None:
    for node in proto.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (_flip, r"the AUC on the holdout is 0\.[0-3]"),
        (_not_a_number, "2800 of 2800 scores are not finite, the first is nan"),
        (_too_wide, r"takes \{'features': \('tensor\(float\)', 5\)\}; it must take one input 'features', float \[n, 4\]"),
        (_of_other_features, r"the model takes 5 features of declaration 0+, there are 4 of 0+ \(missing: \[.e.\]"),
        (_not_what_was_trained, "ONNX and the trained model differ by"),
        (_torn, "is not a whole ONNX model"),
        (_contradicts, "golden set: with a = 3 the mean score goes from"),
    ],
)
def test_a_poisoned_challenger_is_refused_with_its_own_reason(files: Files, poison: Callable[[Files], None], reason: str) -> None:
    poison(files)
    assert files.evaluate() == 1
    assert (files.failure()["error"], files.failure()["retryable"]) == ("GateFailed", False)
    found = files.read("evaluation")["faults"]
    assert any(re.search(reason, fault) for fault in found), found
    page = (files.root / "reports" / "evaluate" / "report.html").read_text(encoding="utf-8")
    assert "does not pass" in page


@pytest.mark.costly
def test_a_challenger_that_does_not_pass_is_recorded_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_LEDGER_URL", f"sqlite:///{files.root / 'ledger.db'}")
    files.crown(forest(5))
    _flip(files)
    assert files.evaluate() == 1
    assert files.evaluate() == 1
    (row,) = Journal(f"sqlite:///{files.root / 'ledger.db'}").verdicts("Core")
    assert (row.verdict, row.actor, row.champion, row.challenger) == ("refused", "evaluate", "1", files.read("evaluation")["sha256"][:12])
    assert "AUC" in row.reason
