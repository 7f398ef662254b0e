"""The challenger scores published nights like the champion: the differences are counted, and no score is published."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.run import load_run, save_run
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.published.delta_tables import read_scores
from pipelines.training.shadow import main
from tests.page_rules import broken_rules
from tests.registered_models import NIGHT, REF, ROWS, Installation, change_score
from tests.scored_night import NAMES

pytestmark = pytest.mark.costly


@pytest.fixture
def challenged(installation_of_three: Installation) -> Installation:
    """The workspace of a retraining: version 1 is champion and has scored the published night, version 2 is the challenger."""
    installation = installation_of_three
    installation.promoted("1")
    installation.opened("1", "2")
    installation.publish()
    Path("data/champion").mkdir()
    shutil.copy(installation.versions["1"].model_uri, "data/champion/model.onnx")
    return installation


def report(*, code: int = 0) -> dict:
    assert main([]) == code
    return json.loads(Path("data/reports/shadow/report.json").read_text(encoding="utf-8"))


def replaced(installation: Installation, model: onnx.ModelProto) -> None:
    """Make `model` the registered version 2."""
    file = Path(installation.versions["2"].model_uri)
    file.write_bytes(model.SerializeToString())
    version = installation.versions["2"].model_copy(update={"sha256": sha256_of(file)})
    Path("data/models/registered.json").write_text(version.model_dump_json(), encoding="utf-8")


def test_the_challenger_scores_the_published_night_like_the_champion(challenged: Installation) -> None:
    before = read_scores(NIGHT)
    found = report()
    assert [(night["partition"], night["run_ref"], night["scored_by"], night["rows"]) for night in found["nights"]] == [
        (NIGHT, REF, "1", ROWS)
    ]
    assert found["overall"]["disagreement"] == 0
    assert found["note"] == "shadowed 1 of 1 nights: 0.0% of decisions differ"
    assert read_scores(NIGHT) == before
    page = Path("data/reports/shadow/report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "0.0% of decisions differ" in page
    assert not broken_rules(page)


def test_a_challenger_with_opposite_scores_is_reported(challenged: Installation, tmp_path: Path) -> None:
    change_score(Path(challenged.versions["2"].model_uri), tmp_path / "turned.onnx")
    replaced(challenged, onnx.load(tmp_path / "turned.onnx"))
    found = report()["overall"]
    assert found["disagreement"] > 0.9
    assert found["correlation"] < -0.9


def test_if_no_night_is_published_it_says_so(installation_of_three: Installation) -> None:
    installation_of_three.opened("1", "2")
    Path("data/champion").mkdir()
    shutil.copy(installation_of_three.versions["1"].model_uri, "data/champion/model.onnx")
    found = report()
    assert (found["nights"], found["overall"], found["fault"]) == ([], None, None)
    assert found["note"] == "no night to shadow is published yet"


def test_a_night_of_other_features_is_named_and_not_counted(challenged: Installation) -> None:
    model = onnx.load(challenged.versions["2"].model_uri)
    [entry] = [entry for entry in model.metadata_props if entry.key == KEY]
    entry.value = Signature(NAMES, "9" * 64).to_json()
    replaced(challenged, model)
    found = report()
    assert found["fault"] is found["overall"] is None
    assert "the model takes 5 features of declaration 999999999999" in found["nights"][0]["skipped"]
    assert found["note"].startswith("shadowed 0 of 1 nights: the model takes 5 features of declaration 9999")


def test_a_file_that_was_edited_after_registration_is_a_fault(challenged: Installation) -> None:
    with Path(challenged.versions["2"].model_uri).open("ab") as file:
        file.write(b"\0")
    assert "but " + challenged.versions["2"].sha256 + " was registered" in report()["fault"]


def without_numbers(file: Path) -> onnx.ModelProto:
    """Return the model of `file`, changed so that every score is NaN."""
    model = onnx.load(file)
    for node in model.graph.node:
        node.output[:] = ["finite" if name == "probabilities" else name for name in node.output]
    nan = helper.make_node("Constant", [], ["nan"], value=helper.make_tensor("nan", onnx.TensorProto.FLOAT, [1], [np.nan]))
    model.graph.node.extend([nan, helper.make_node("Add", ["finite", "nan"], ["probabilities"])])
    return model


def test_a_score_that_is_not_a_number_is_a_fault(challenged: Installation) -> None:
    replaced(challenged, without_numbers(Path(challenged.versions["2"].model_uri)))
    assert "gives the score nan" in report()["fault"]


def test_a_champion_that_cannot_score_a_night_is_not_a_fault_of_the_challenger(challenged: Installation) -> None:
    """As with a row that the champion cannot score: the report names the night, and does not count it."""
    champion = Path("data/champion/model.onnx")
    champion.write_bytes(without_numbers(champion).SerializeToString())
    run = load_run()
    save_run(run.model_copy(update={"model": run.model.model_copy(update={"sha256": sha256_of(champion)})}))
    found = report()
    assert found["fault"] is found["overall"] is None
    assert found["nights"][0]["skipped"].startswith("the champion cannot score it: the model gives the score nan")
    assert found["note"].startswith("shadowed 0 of 1 nights: the champion cannot score it")


def test_an_altered_champion_stops_it(challenged: Installation) -> None:
    with Path("data/champion/model.onnx").open("ab") as file:
        file.write(b"\0")
    assert main([]) == 1
    assert "it was altered or torn" in Path("failure.json").read_text(encoding="utf-8")
