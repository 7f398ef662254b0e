"""The chosen form: of those that pass, the one that keeps most neighbours; FP32 with its reason, if none passes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.encoders.encoder import load_encoder
from pipelines.lib.encoders.kept_neighbours import ComparedRows
from pipelines.lib.encoders.quantization import WAYS, Losses, note
from pipelines.lib.features.history import History
from pipelines.lib.measures import neighbours
from pipelines.training.quantize import Quantize, choose, faults, main
from tests.page_rules import broken_rules
from tests.trained_encoder import PARTITION, START, encoder_bytes, history, write_history

LIMITS = {"minimum_overlap": 0.8, "maximum_auc_loss": 0.01, "calibration_rows": 1_000, "queries": 300, "minimum_rows": 100}
LAYERS = (128, 64)
"""Large enough for eight bits: the scales of a smaller network need more bytes than its weights save."""

GOOD = {"rows": 500, "overlap_10": 0.97, "auc_fall": 0.001, "alone_difference": 0.0, "size_ratio": 0.4}


class Files:
    """A workspace as `train_encoder` leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "encoder").mkdir()
        self.limit()
        run = {"partition": PARTITION, "model": {"path": "model.onnx", "name": "Core"}}
        (root / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
        (root / "encoder" / "fp32.onnx").write_bytes(encoder_bytes(layers=LAYERS))
        write_history(root / "history.parquet")

    def limit(self, **limits: object) -> None:
        params = parse_yaml((Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8"))
        params["quantize"] = {**LIMITS, **limits}
        (self.root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")

    def quantize(self) -> dict[str, Any]:
        paths = {
            "features": "history.parquet",
            "model": "encoder/fp32.onnx",
            "encoder": "encoder/encoder.onnx",
            "report": "reports/quantize",
        }
        assert main([word for name, path in paths.items() for word in (f"--{name}", path)]) == 0
        return dict(json.loads((self.root / "reports" / "quantize" / "report.json").read_text(encoding="utf-8")))

    @property
    def chosen(self) -> Path:
        return self.root / "encoder" / "encoder.onnx"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


@pytest.mark.costly
def test_the_form_that_keeps_most_is_chosen_and_every_form_is_reported(files: Files) -> None:
    report = files.quantize()
    assert list(report["candidates"]) == ["fp32", *WAYS]
    assert report["chosen"] == "static_16"
    found = report["candidates"]["static_16"]
    assert found["sha256"] == sha256_of(files.chosen)
    assert found["bytes"] == files.chosen.stat().st_size
    assert LIMITS["minimum_overlap"] < report["candidates"]["static_8"]["overlap_10"] < found["overlap_10"] < 1
    assert 0 < found["overlap_10_all"] < 1
    assert report["candidates"]["fp32"]["overlap_10"] == report["candidates"]["fp32"]["overlap_10_all"] == 1
    assert [message for message in report["candidates"]["dynamic"]["faults"] if "a row alone has another vector than in a batch" in message]
    assert (report["since"], report["candidates"]["fp32"]["rows"]) == (START, 14 * 200)
    page = (files.root / "reports" / "quantize" / "report.html").read_text(encoding="utf-8")
    assert "The encoder is kept as static_16" in page
    assert not broken_rules(page)
    assert all(way in page for way in WAYS)
    timing = json.loads((files.root / "reports" / "quantize_timing.json").read_text(encoding="utf-8"))
    assert set(timing["rows_per_second"]) == {"fp32", *WAYS}


@pytest.mark.costly
def test_versioned_outputs_are_the_same_each_time(files: Files) -> None:
    digests = []
    for _ in range(2):
        files.quantize()
        digests.append([sha256_of(files.chosen), *(sha256_of(path) for path in sorted((files.root / "reports" / "quantize").iterdir()))])
    assert digests[0] == digests[1]


@pytest.mark.costly
def test_a_network_that_is_too_small_to_shrink_is_kept_in_fp32(files: Files) -> None:
    (files.root / "encoder" / "fp32.onnx").write_bytes(encoder_bytes())
    report = files.quantize()
    assert report["chosen"] == "fp32"
    assert "of the size" in report["candidates"]["static_16"]["faults"][0]


@pytest.mark.costly
def test_if_no_form_passes_the_encoder_is_kept_in_fp32_and_the_report_says_so(files: Files) -> None:
    files.limit(minimum_overlap=1.0)
    report = files.quantize()
    assert report["chosen"] == "fp32"
    assert files.chosen.read_bytes() == encoder_bytes(layers=LAYERS)
    assert report["note"].startswith("FP32 is kept: dynamic: it keeps")
    assert "static_16: it keeps" in report["note"]
    assert "The encoder is kept as fp32" in (files.root / "reports" / "quantize" / "report.html").read_text(encoding="utf-8")


@pytest.mark.costly
def test_the_ranges_come_from_rows_of_training_alone(files: Files) -> None:
    before = files.quantize()["candidates"]
    given = history()
    features = given.features.copy()
    features[given.nights >= START] *= 50
    write_history(files.root / "history.parquet", History(features, given.labels, given.rows, given.names))
    assert {way: row["sha256"] for way, row in files.quantize()["candidates"].items()} == {
        way: row["sha256"] for way, row in before.items()
    }


@pytest.mark.costly
def test_neighbours_of_a_long_history_are_looked_for_among_as_many_rows_as_are_declared(files: Files) -> None:
    files.limit(neighbour_rows=1_500, queries=200)
    report = files.quantize()
    assert report["neighbour_rows"] == {"held_out": {"compared": 1_500, "rows": 2_800}, "history": {"compared": 1_500, "rows": 6_000}}
    page = (files.root / "reports" / "quantize" / "report.html").read_text(encoding="utf-8")
    assert "among 1,500 rows, drawn from 2,800" in page
    assert "among 1,500 rows, drawn from 6,000" in page
    given = history()
    held_out = given.nights >= START
    among = ComparedRows.of(held_out, most=1_500, queries=200)
    asked = among.queries
    assert len(asked) == 200
    assert not np.isin(asked, among.history).all()
    fp32, chosen = (load_encoder(files.root / "encoder" / name).encode(given.features) for name in ("fp32.onnx", "encoder.onnx"))
    for rows, figure in ((among.held_out, "overlap_10"), (among.history, "overlap_10_all")):
        assert np.all(np.diff(rows) > 0)
        found = []
        for vectors in (fp32, chosen):
            distance = ((vectors[asked][:, None] - vectors[rows][None]) ** 2).sum(axis=2)
            distance[asked[:, None] == rows[None]] = np.inf
            found.append(rows[np.argsort(distance, axis=1)[:, :10]])
        wanted = neighbours.overlap(found[0], found[1], 10)
        assert report["candidates"][report["chosen"]][figure] == pytest.approx(wanted, abs=0.002)
    assert held_out[among.held_out].all()


@pytest.mark.costly
@pytest.mark.parametrize("rows", [9, 0])
def test_without_enough_held_out_rows_nothing_is_measured_or_quantised(files: Files, rows: int) -> None:
    given = history()
    kept = given.nights < START
    kept[int(kept.sum()) : int(kept.sum()) + rows] = True
    write_history(files.root / "history.parquet", History(given.features[kept], given.labels[kept], given.rows.filter(kept), given.names))
    report = files.quantize()
    assert report["chosen"] == "fp32"
    assert f"not measured: there are {rows} held-out rows" in report["note"]
    assert load_encoder(files.chosen).sha256 == sha256_of(files.root / "encoder" / "fp32.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"overlap_10": 0.79}, "keeps 0.790 of the neighbours"),
        ({"auc_fall": 0.02}, "the AUC falls by 0.0200"),
        ({"auc_fall": -0.5}, None),
        ({"auc_fall": None}, "not measured: there are"),
        ({"alone_difference": 0.01}, "another vector than in a batch"),
        ({"size_ratio": 1.95}, "1.95 of the size"),
        ({"rows": 99}, "there are 99 held-out rows, and 100 of both classes are needed"),
    ],
)
def test_each_limit_can_refuse_a_form(change: dict[str, Any], message: str | None) -> None:
    found = faults(losses(**change), Quantize.model_validate_json(json.dumps(LIMITS)))
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


def losses(**change: Any) -> Losses:
    good = {"auc": 0.7, "overlap_10_all": 0.9, "bytes": 100, "sha256": "a" * 64, "faults": [], **GOOD}
    return Losses(**{**good, **change})  # type: ignore[typeddict-item]


def test_the_passing_form_with_most_neighbours_is_chosen() -> None:
    rows = {"fp32": losses(overlap_10=1.0), "a": losses(overlap_10=0.99, faults=["no"]), "b": losses(overlap_10=0.96)}
    assert choose(rows | {"c": losses(overlap_10=0.97)}) == "c"
    assert choose(rows) == "b"
    assert choose({name: rows[name] for name in ("fp32", "a")}) == "fp32"
    assert note("fp32", {name: rows[name] for name in ("fp32", "a")}) == "FP32 is kept: a: no"
