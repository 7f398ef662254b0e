"""The gate before an encoder is registered: a good one passes and is compared, each poisoned one is refused with its own reason."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.encoders.comparison import Compared, NotCompared
from pipelines.lib.encoders.encoder import TRAINED_UNTIL
from pipelines.lib.encoders.graph import Fitted, serialized
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.models import skops_file
from pipelines.lib.records.journal import Journal
from pipelines.training.evaluate_encoder import EvaluateEncoder, faults, main
from tests.evaluations import SOUND_ENCODER
from tests.page_rules import broken_rules
from tests.trained_encoder import NAMES, PARTITION, START, encoder_bytes, fitted, history, write_history

LIMITS = {"minimum_auc": 0.6, "parity_tolerance": 1e-4, "minimum_spread": 0.001, "maximum_auc_loss": 0.01, "queries": 500}
REPOSITORY = Path(__file__).parents[3]


class Files:
    """A workspace as `quantize` leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("encoder", "reports", "champion"):
            (root / folder).mkdir()
        self.limit()
        self.pin()
        write_history(root / "history.parquet")
        skops_file.dump(vars(fitted()), root / "encoder" / "fitted.skops")
        self.put(encoder_bytes())

    def limit(self, **limits: object) -> None:
        params = parse_yaml((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
        params["evaluate_encoder"] = {**LIMITS, **limits}
        (self.root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")

    def pin(self, **encoder: object) -> None:
        """Write the run file; `encoder` are its fields about the champion."""
        pinned = {"path": "champion/encoder.onnx", "name": "flight_encoder", **encoder}
        run = {"partition": PARTITION, "run_id": "run", "model": pinned, "encoder": pinned}
        (self.root / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")

    def put(self, content: bytes, whole: bytes | None = None) -> None:
        """Write the encoder, and `whole` as the one before quantisation: by default the same."""
        (self.root / "encoder" / "fp32.onnx").write_bytes(whole or content)
        (self.root / "encoder" / "encoder.onnx").write_bytes(content)
        figures = {"sha256": sha256_of(self.root / "encoder" / "encoder.onnx"), "overlap_10": 1.0, "auc_fall": -1e-06}
        report = {"chosen": "fp32", "candidates": {"fp32": figures}}
        (self.root / "reports" / "quantize.json").write_text(json.dumps(report), encoding="utf-8")

    def crown(self, content: bytes) -> None:
        """Write the champion, and pin the run to it as version 1."""
        path = self.root / "champion" / "encoder.onnx"
        path.write_bytes(content)
        self.pin(version="1", sha256=sha256_of(path), ledger_sequence=1)

    def evaluate(self) -> int:
        paths = {
            "features": "history.parquet",
            "fitted": "encoder/fitted.skops",
            "model": "encoder/fp32.onnx",
            "encoder": "encoder/encoder.onnx",
            "quantized": "reports/quantize.json",
            "report": "reports/evaluate_encoder",
        }
        return main([word for name, path in paths.items() for word in (f"--{name}", path)])

    def read(self, name: str = "evaluation") -> dict[str, Any]:
        return dict(json.loads((self.root / "reports" / "evaluate_encoder" / f"{name}.json").read_text(encoding="utf-8")))

    def failure(self) -> tuple[str, str, bool]:
        report = json.loads((self.root / "failure.json").read_text(encoding="utf-8"))
        return report["error"], report["message"], report["retryable"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    return Files(tmp_path)


def changed(change: Callable[[onnx.ModelProto], None], metadata: dict[str, str] | None = None, given: bytes | None = None) -> bytes:
    """Return the encoder after applying `change` to its graph, with other `metadata` if given."""
    model = onnx.load_from_string(given or encoder_bytes())
    kept = {entry.key: entry.value for entry in model.metadata_props}
    change(model)
    return serialized(model, kept | (metadata or {}))


def weights(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Apply `change` to the constant `name`."""
    [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == name]
    array = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(change(array.copy()), dtype=np.float32), name))


def flip(model: onnx.ModelProto) -> None:
    for name in ("weights_2", "biases_2"):  # of the output layer: late is early
        weights(model, name, lambda array: -array)


def blind(model: onnx.ModelProto) -> None:
    weights(model, "weights_2", lambda array: array * 0.02 + np.linspace(0.3, -0.3, array.size).reshape(array.shape))


def collapse(model: onnx.ModelProto) -> None:
    def change(array: np.ndarray) -> np.ndarray:
        array[..., 3] = 0
        return array

    weights(model, "weights_1", change)
    weights(model, "biases_1", change)


def poison(model: onnx.ModelProto) -> None:
    weights(model, "biases_1", lambda array: array * np.nan)


def lengthen(model: onnx.ModelProto) -> None:
    [node] = [node for node in model.graph.node if node.op_type == "LpNormalization"]
    [p] = [attribute for attribute in node.attribute if attribute.name == "p"]
    p.i = 1


@pytest.mark.costly
def test_a_good_encoder_without_a_champion_passes(files: Files) -> None:
    assert files.evaluate() == 0
    evaluation = files.read()
    assert (evaluation["faults"], evaluation["comparison"], evaluation["since"]) == ([], None, START)
    assert evaluation["sha256"] == sha256_of(files.root / "encoder" / "encoder.onnx")
    figures = files.read("metrics")
    assert figures["rows"] == 14 * 200
    assert figures["auc"] > 0.75
    assert 0.65 < figures["neighbour_auc"] < 1
    assert figures["parity_max_difference"] < 1e-5
    assert figures["dimension"] == 8
    assert files.read("report")["note"].startswith("AUC 0.")
    assert evaluation["quantization"]["auc_fall"] == -1e-06
    page = (files.root / "reports" / "evaluate_encoder" / "report.html").read_text(encoding="utf-8")
    assert "The encoder passes" in page
    assert not broken_rules(page)
    assert "Against the champion" not in page
    assert evaluation["trained_rows"] == evaluation["history_rows"] == 3_200
    assert "rows that were drawn from" not in page


def test_the_page_says_from_how_many_rows_the_encoder_has_learned(files: Files) -> None:
    given = fitted()
    part = Fitted(copy.copy(given.scaler), given.clip, given.network)
    part.scaler.n_samples_seen_ = 1_000
    skops_file.dump(vars(part), files.root / "encoder" / "fitted.skops")
    assert files.evaluate() == 0
    assert (files.read()["trained_rows"], files.read()["history_rows"]) == (1_000, 3_200)
    page = (files.root / "reports" / "evaluate_encoder" / "report.html").read_text(encoding="utf-8")
    assert "1,000 rows that were drawn from 3,200" in page


@pytest.mark.costly
def test_versioned_outputs_are_the_same_each_time(files: Files) -> None:
    files.crown(encoder_bytes(seed=1))
    digests = []
    for _ in range(2):
        assert files.evaluate() == 0
        digests.append({path.name: sha256_of(path) for path in (files.root / "reports" / "evaluate_encoder").iterdir()})
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (flip, "the AUC on the holdout is 0."),
        (collapse, "a dimension has collapsed"),
        (poison, "the vector or probability of 2800 of 2800 rows is not finite"),
        (lengthen, "the norm of a vector differs from 1"),
    ],
)
def test_each_fault_stops_an_encoder(files: Files, change: Callable[[onnx.ModelProto], None], fault: str) -> None:
    files.put(changed(change), encoder_bytes())
    assert files.evaluate() == 1
    error, message, retryable = files.failure()
    assert (error, retryable) == ("GateFailed", False)
    assert fault in message
    evaluation = files.read()
    assert fault in evaluation["faults"][0]
    assert files.read("report")["note"].startswith("the encoder does not pass: ")
    assert "The encoder does not pass" in (files.root / "reports" / "evaluate_encoder" / "report.html").read_text(encoding="utf-8")


def test_an_export_that_differs_from_the_trained_network_is_refused(files: Files) -> None:
    files.put(changed(blind))
    assert files.evaluate() == 1
    assert "ONNX and the trained model differ by" in files.failure()[1]


def test_the_report_of_another_encoder_is_refused(files: Files) -> None:
    (files.root / "encoder" / "encoder.onnx").write_bytes(encoder_bytes(seed=1))
    assert files.evaluate() == 1
    assert files.failure()[0] == "DataError"
    assert "run quantize again" in files.failure()[1]


def test_features_of_another_declaration_are_refused(files: Files) -> None:
    files.put(encoder_bytes(signature=Signature(NAMES, "1" * 64)))
    assert files.evaluate() == 1
    assert "takes 4 features of declaration 111111111111" in files.read()["faults"][0]


def test_without_a_holdout_the_encoder_is_not_judged(files: Files) -> None:
    given = history()
    kept = given.nights < START
    write_history(files.root / "history.parquet", History(given.features[kept], given.labels[kept], given.rows.filter(kept), given.names))
    assert files.evaluate() == 1
    assert files.failure()[0] == "DataError"
    assert "no labelled rows from 2013-03-17 on" in files.failure()[1]


def test_it_is_compared_with_the_champion_on_rows_that_neither_has_seen(files: Files) -> None:
    files.crown(encoder_bytes(seed=1, until="2013-03-10"))
    assert files.evaluate() == 0
    found = files.read()["comparison"]
    assert (found["version"], found["since"], found["rows"]) == ("1", START, 14 * 200)
    assert abs(found["auc"] - found["champion_auc"]) < 0.01
    assert "the champion's AUC on the same rows" in files.read("report")["note"]
    assert "Against the champion, version 1" in (files.root / "reports" / "evaluate_encoder" / "report.html").read_text(encoding="utf-8")


def test_an_encoder_that_predicts_worse_than_the_champion_is_refused_and_recorded(files: Files) -> None:
    files.limit(minimum_auc=0.0)
    files.crown(encoder_bytes())
    files.put(changed(flip), encoder_bytes())
    assert files.evaluate() == 1
    assert "it falls by more than 0.01" in files.failure()[1]
    [verdict] = Journal(f"sqlite:///{files.root / 'ledger.db'}").verdicts("flight_encoder")
    assert (verdict.verdict, verdict.champion, verdict.actor) == ("refused", "1", "evaluate_encoder")
    assert verdict.challenger == files.read()["sha256"][:12]


def test_a_champion_of_other_features_cannot_be_compared_with_and_the_run_goes_on(files: Files) -> None:
    files.crown(changed(lambda model: None, {KEY: Signature(NAMES, "1" * 64).to_json(), TRAINED_UNTIL: "2013-12-01"}))
    assert files.evaluate() == 0
    assert "takes other features" in files.read()["comparison"]["reason"]
    assert "not compared with the champion" in files.read("report")["note"]
    assert "takes other features" in (files.root / "reports" / "evaluate_encoder" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("until", "last"), [("2013-12-01", "2013-11-30"), ("2013-03-25", "2013-03-24")])
def test_an_encoder_of_an_earlier_partition_does_not_take_over(files: Files, until: str, last: str) -> None:
    files.crown(encoder_bytes(seed=1, until=until))
    assert files.evaluate() == 1
    fault = f"the champion has learned from nights up to {last}, this one's holdout begins on {START}; train as of a later partition"
    assert files.failure()[0] == "GateFailed"
    assert fault in files.failure()[1]
    assert files.read()["faults"] == [fault]
    assert f"champion has learned from nights up to {last}" in (files.root / "reports" / "evaluate_encoder" / "report.html").read_text(
        encoding="utf-8"
    )


def test_an_altered_champion_stops_the_run(files: Files) -> None:
    files.crown(encoder_bytes())
    files.pin(version="1", sha256="f" * 64)
    assert files.evaluate() == 1
    assert files.failure()[0] == "ModelError"
    assert "pinned was ffff" in files.failure()[1]


def against(auc: float) -> Compared:
    """Return the comparison with a champion whose AUC is 0.7."""
    return Compared("1", "a" * 64, START, 2_800, auc, 0.7)


def not_compared(reason: str, *, stops: bool) -> NotCompared:
    return NotCompared("1", "a" * 64, reason, stops)


@pytest.mark.parametrize(
    ("figures", "compared", "fault"),
    [
        ({}, None, None),
        ({}, against(0.691), None),
        ({}, against(0.68), "falls by more"),
        ({}, not_compared("of other features", stops=False), None),
        ({}, not_compared("it has learned from later nights", stops=True), "later nights"),
        ({"auc": None}, None, "the AUC on the holdout is None"),
        ({"auc": 0.59}, None, "below 0.6"),
        ({"parity_max_difference": 0.001}, None, "differ by 0.001"),
        ({"norm_error": 0.001}, None, "norm of a vector"),
        ({"least_spread": 0.0001}, None, "collapsed"),
    ],
)
def test_each_limit_can_stop_an_encoder(figures: dict[str, Any], compared: Compared | NotCompared | None, fault: str | None) -> None:
    found = faults(replace(SOUND_ENCODER, **figures), compared, EvaluateEncoder.model_validate_json(json.dumps(LIMITS)))
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]
