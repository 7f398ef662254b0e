"""``show``: the effective parameters as YAML, with their origins."""

from pathlib import Path

import pytest
import yaml

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import VARIABLE, effective, find
from pipelines.use_case.__main__ import main
from pipelines.use_case.show import show
from tests import rides


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with the rides, of which one value is derived."""
    rides.repository(tmp_path)
    (tmp_path / "use_cases/rides/derived.yaml").write_text("train: {minimum_rows: 7}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_the_output_is_the_effective_parameters() -> None:
    for name in ("", "rides"):
        expected = effective(find(name, Path())).params
        del expected["use_case"]
        assert yaml.safe_load(show(find(name, Path()))) == expected


def test_each_value_says_where_it_comes_from() -> None:
    lines = show(find("rides", Path())).splitlines()
    said = {line.split("#")[0].strip(): line.rpartition("# ")[2] for line in lines if "#" in line}
    assert said["minimum_rows: 7"] == "derived"
    assert said["max_depth: 8"] == "default"
    assert said["event_time: started_at"] == "declared"
    assert said["name: rides_model"] == "name"
    assert said["city: {}"] == "declared"
    assert said["shard_history: {}"] == "default"
    assert said["refresh_days: null"] == "default"


def test_one_section_is_shown_alone() -> None:
    shown = show(find("rides", Path()), "registry")
    assert shown == ("registry:\n  experiment: rides       # name\n  name: rides_model       # name\n  encoder: rides_encoder  # name\n")
    with pytest.raises(ConfigError, match="no section 'registri'"):
        show(find("rides", Path()), "registri")


def test_without_a_name_the_use_case_of_the_variable_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "rides")
    assert main(["show", "--section", "registry"]) == 0
    assert "name: rides_model" in capsys.readouterr().out
    monkeypatch.delenv(VARIABLE)
    assert main(["show", "--section", "registry"]) == 0
    assert "name: Core_RF_Classifier" in capsys.readouterr().out
