"""Where an installation's state stands."""

import configparser
import os
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable, write_deltalake

from deploy.embedded.settings import load_secrets, write_settings
from pipelines.lib.core import home
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.records.ledger import Entry, Ledger


def test_everything_moves_with_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moved in ("NIGHTSHIFT_LEDGER_URL", "NIGHTSHIFT_PUBLISHED_URL", "NIGHTSHIFT_ARTIFACT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(moved, raising=False)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    for place in (home.ledger_url(), home.published_url(), home.tracking_uri(), home.artifact_root()):
        assert str(tmp_path) in place


@pytest.mark.parametrize("character", ["?", "#", "%", "%20", "$", "*", "[", "]", "|", "^", "\\", ",", "\n", "\t", "\x07"])
def test_a_home_whose_files_would_end_up_elsewhere_is_refused_by_name(
    character: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / f"a{character}b"))
    for place in (home.home, home.ledger_url, home.published_url, home.tracking_uri, home.artifact_root, home.index_root):
        with pytest.raises(ConfigError, match="NIGHTSHIFT_HOME is ") as refused:
            place()
        assert repr(character[0]) in str(refused.value)


@pytest.mark.parametrize("variable", ["NIGHTSHIFT_PUBLISHED_URL", "NIGHTSHIFT_ARTIFACT_ROOT", "NIGHTSHIFT_INDEX_DIR"])
def test_another_location_is_refused_by_its_own_name(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "a%20b"))
    place = {
        "NIGHTSHIFT_PUBLISHED_URL": home.published_url,
        "NIGHTSHIFT_ARTIFACT_ROOT": home.artifact_root,
        "NIGHTSHIFT_INDEX_DIR": home.index_root,
    }[variable]
    with pytest.raises(ConfigError, match=f"{variable} is "):
        place()


@pytest.mark.costly
@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a;b", "a&b", "a+b", "a=b", "a@b", "~a", "(a)", "{a}", "é", "!", "<a>", "`", ":"])
def test_the_state_of_a_home_with_an_unusual_name_stays_in_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moved in ("NIGHTSHIFT_LEDGER_URL", "NIGHTSHIFT_PUBLISHED_URL"):
        monkeypatch.delenv(moved, raising=False)
    place = tmp_path / name / "home"
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(place))
    Ledger(home.ledger_url()).append(Entry("Model", 1, "promote", "1", "a" * 64, "/model.onnx", None, "2013-04-01", "ada", "first"))
    write_deltalake(home.published_url(), pa.table({"partition": ["2013-04-01"], "score": [0.5]}), partition_by=["partition"])
    assert DeltaTable(home.published_url()).to_pyarrow_table()["score"].to_pylist() == [0.5]
    airflow_home = place / "airflow"
    airflow_home.mkdir()
    write_settings(airflow_home, place, load_secrets(airflow_home), port=1, schedule=True, parse_every_s=30)
    parser = configparser.ConfigParser()
    parser.read(airflow_home / "airflow.cfg", encoding="utf-8")
    assert sa.make_url(parser["database"]["sql_alchemy_conn"]).database == str(airflow_home / "airflow.db")
    assert os.path.expandvars(parser["core"]["dags_folder"]) == str(place / "dags")
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert {path.name for path in place.iterdir()} == {"ledger.db", "published", "airflow"}
