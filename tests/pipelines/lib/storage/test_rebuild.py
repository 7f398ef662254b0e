"""The parameters in a run's ref follow from the commit of its code, or the rebuild names them."""

import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.lib.core.use_cases import write_into
from pipelines.lib.storage.rebuild import _is_declared, git

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.costly


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of a run of the use case *fraud*, with the parameters that its ref records."""
    (tmp_path / "pipelines").mkdir()
    for name in ("params.yaml", "run.yaml", "pipelines/defaults.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "use_cases" / "fraud", tmp_path / "use_cases" / "fraud")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "commit", "--quiet", "-m", "declare fraud")
    assert write_into(tmp_path, "fraud")
    return tmp_path


def test_parameters_that_follow_from_the_commit_are_its_own(clone: Path) -> None:
    assert _is_declared(clone, git(clone, "rev-parse", "HEAD"))


def test_a_parameter_that_the_commit_does_not_declare_is_noticed(clone: Path) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text(encoding="utf-8"))
    params["train"]["parameters"]["max_depth"] += 1
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")
    assert not _is_declared(clone, git(clone, "rev-parse", "HEAD"))


def test_parameters_of_a_use_case_that_the_commit_lacks_are_noticed(clone: Path) -> None:
    git(clone, "rm", "-r", "--quiet", "--cached", "use_cases")
    git(clone, "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "commit", "--quiet", "-m", "remove fraud")
    assert not _is_declared(clone, git(clone, "rev-parse", "HEAD"))
