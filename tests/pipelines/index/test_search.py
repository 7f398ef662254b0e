"""Rows that resemble a row, by its key or as the riskiest of the last night: a real index, a real published night, the table as people
see it.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.index.search import main, parse_key, search
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.encoders.encoder import load_encoder
from pipelines.lib.encoders.graph import encoder_graph
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import Signature
from pipelines.lib.published.delta_tables import read_scores
from pipelines.lib.tables.dataset import load_dataset
from pipelines.lib.vector_index.evidence import widely
from pipelines.lib.vector_index.publication import publish
from pipelines.lib.vector_index.reader import VectorIndex, open_generation
from pipelines.lib.vector_index.search import Setting
from pipelines.training.train_encoder import TrainEncoder, train_encoder
from tests.registered_models import NIGHT, Installation
from tests.scored_night import NAMES, ORDER, SIGNATURE, features_table, values
from tests.small_index import build_from_arrays

pytestmark = pytest.mark.costly

NAME = "flight_encoder"
ROWS = 300
TRAINING = {"layers": (16, 8), "activation": "tanh", "epochs": 3, "batch_size": 100, "learning_rate": 0.01, "alpha": 0.001}


def encoder(path: Path, signature: Signature = SIGNATURE) -> Path:
    features = values(1_000, seed=1)
    history = History(features, (features[:, 0] > 0).astype(np.int8), pa.table({}), NAMES)
    params = TrainEncoder(**TRAINING, random_state=0, holdout_days=7, minimum_rows=100, clip=6.0)  # type: ignore[arg-type]
    path.write_bytes(encoder_graph(train_encoder(history, params), signature, "2013-03-01"))
    return path


@pytest.fixture
def published(installation_of_three: Installation, tmp_path: Path) -> Installation:
    """A night that was published, and an index of other rows, of which those late have a positive `a`."""
    installation_of_three.publish()
    put(tmp_path, encoder(tmp_path / "encoder.onnx"))
    return installation_of_three


def put(directory: Path, model: Path, rows: int = ROWS) -> None:
    """Publish an index of `rows` rows that were in March."""
    loaded, table, features = load_encoder(model), features_table(rows, seed=3), values(rows, seed=3)
    table = table.set_column(0, "carrier", pa.array(["MQ"] * rows)).set_column(4, "partition", pa.array(["2013-03-05"] * rows))
    table = (
        table.select([*ORDER, "partition"])
        .replace_schema_metadata()
        .append_column("outcome", pa.array((features[:, 0] > 0).astype(np.int8)))
    )
    build_from_arrays(loaded.encode(features), table, directory / "build", encoder_sha256=loaded.sha256)
    manifest = {"partition": "2013-03-31", "encoder_version": "1", "encoder_sha256": loaded.sha256}
    publish(NAME, directory / "build", model, manifest, expected_sequence=0, retain=3)


def refused(*arguments: str) -> str:
    assert main(arguments) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert failure["error"] in ("ConfigError", "ModelError")
    return str(failure["message"])


@pytest.mark.slow
def test_a_row_of_the_index_is_shown_with_its_neighbours_and_not_with_itself(
    published: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--key", "MQ,7,JFK,2013-04-01T05:00:07", "--top", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading = next(index for index, line in enumerate(lines) if "the 5 most similar of 300 rows" in line)
    assert lines[heading].startswith("MQ 7 JFK 2013-04-01 05:00:07: ")
    assert lines[heading + 1].split() == ["distance", *ORDER, "late"]
    shown = [line.split() for line in lines[heading + 2 : heading + 7]]
    assert [row[0] for row in shown] == ["1", "2", "3", "4", "5"]
    assert [float(row[1]) for row in shown] == sorted(float(row[1]) for row in shown)
    assert "7" not in [row[3] for row in shown]
    late = sum(row[-1] == "yes" for row in shown)
    assert lines[heading + 7].strip() == f"late: {late} of 5 ({late / 5:.0%})"


def test_a_row_of_a_published_night_is_encoded_by_the_generation_s_own_encoder(
    published: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    place = int(values(200)[:, 0].argmax())  # most surely late
    row = features_table(200).select(list(ORDER)).slice(place, 1).to_pylist()[0]
    key = ",".join(value.isoformat() if hasattr(value, "isoformat") else str(value) for value in row.values())
    assert main(["--key", key, "--top", "10"]) == 0
    out = capsys.readouterr().out
    assert ", score " in out
    with open_generation(NAME) as index:
        vector = index.encoder.encode(values(200)[place : place + 1])
        [expected] = search(index, vector, [None], 10)
    shown = [line.split()[3] for line in out.splitlines() if " MQ " in line and "similar" not in line]
    assert shown == [str(flight) for flight in expected["flight"].to_pylist()]
    assert sum(expected["outcome"].to_pylist()) >= 9


def test_it_is_asked_as_widely_as_evidence_and_what_finds_nothing_is_shown_as_nothing(
    published: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An IVF-PQ may find nothing in the lists that it looks through."""
    asked = []

    def nothing(self: VectorIndex, vectors: np.ndarray, k: int, *, setting: Setting | None = None) -> tuple[np.ndarray, np.ndarray]:
        asked.append((setting, widely(self)))
        return np.full((len(vectors), k), np.inf, np.float32), np.full((len(vectors), k), -1)

    monkeypatch.setattr(VectorIndex, "search", nothing)
    assert main(["--key", "MQ,7,JFK,2013-04-01T05:00:07", "--top", "5"]) == 0
    out = capsys.readouterr().out
    assert "the 0 most similar of 300 rows" in out
    assert "late: 0 of 0\n" in out
    [(setting, wide)] = asked
    assert setting == wide


def test_the_riskiest_of_the_last_night_are_shown_riskiest_first(published: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--last-night", "--top", "3", "--neighbours", "4"]) == 0
    headings = [line for line in capsys.readouterr().out.splitlines() if "the 4 most similar of" in line]
    scores = [float(line.partition("score ")[2].partition(":")[0]) for line in headings]
    assert scores == sorted((round(score, 3) for score in read_scores(NIGHT)["score"].to_pylist()), reverse=True)[:3]


def test_what_cannot_be_shown_is_reported_with_its_remedy(published: Installation) -> None:
    assert "no row MQ, 9999, JFK, 2013-04-01 05:00:07 is in the index or published" in refused("--key", "MQ,9999,JFK,2013-04-01T05:00:07")
    assert "300 similar rows were asked for, the index has 299" in refused("--key", "MQ,7,JFK,2013-04-01T05:00:07", "--top", "300")
    assert "301 similar rows were asked for, the index has 300" in refused("--last-night", "--neighbours", "301")
    assert "2 values; write 4 with commas: carrier,flight,origin,scheduled_departure" in refused("--key", "MQ,7")
    assert "'soon' for scheduled_departure, which is of type timestamp" in refused("--key", "MQ,7,JFK,soon")
    assert "either --key" in refused()
    assert "either --key" in refused("--last-night", "--key", "MQ,7,JFK,2013-04-01T05:00:07")
    assert "--top of 1 or more" in refused("--last-night", "--top", "0")


def test_without_an_index_or_a_night_it_says_so(installation_of_three: Installation, tmp_path: Path) -> None:
    assert "no generation of flight_encoder is published" in refused("--key", "MQ,7,JFK,2013-04-01T05:00:07")
    assert "no night is published yet" in refused("--last-night")
    put(tmp_path, encoder(tmp_path / "encoder.onnx"))
    assert "is in the index or published" in refused("--key", "MQ,9999,JFK,2013-04-01T05:00:07")


def test_an_encoder_of_other_features_is_refused(installation_of_three: Installation, tmp_path: Path) -> None:
    installation_of_three.publish()
    put(tmp_path, encoder(tmp_path / "encoder.onnx", Signature(NAMES, "9" * 64)))
    assert "other features" in refused("--last-night") or "declaration" in refused("--last-night")


def test_a_key_has_the_types_that_the_dataset_declares(installation_of_three: Installation) -> None:
    dataset = load_dataset()
    key = parse_key('"U,A", 15 ,EWR,2013-03-01T05:15:00', dataset)
    assert [type(value).__name__ for value in key] == ["str", "int", "str", "datetime"]
    assert key[0] == "U,A"
    with pytest.raises(ConfigError, match="'fifteen' for flight, which is of type integer"):
        parse_key("UA,fifteen,EWR,2013-03-01T05:15:00", dataset)
