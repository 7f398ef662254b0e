"""`make up` prepares all use cases in turn, and one that is broken takes no other with it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.embedded import up
from deploy.embedded.client import ApiError, Client
from deploy.embedded.first_champion import TrainingError
from deploy.embedded.server import Server
from deploy.embedded.services import ServerError
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import current_use_case
from pipelines.lib.core.use_cases import UseCase, use_cases

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[UseCase]:
    """The default use case and three more: *bad* has a fault, *dull* cannot be trained, *shop* is sound. None is trained for real."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "var"))
    monkeypatch.delenv("NIGHTSHIFT_LEDGER_URL", raising=False)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "defaults.yaml").write_bytes((ROOT / "pipelines" / "defaults.yaml").read_bytes())
    for name in ("bad", "dull", "shop"):
        file = tmp_path / "use_cases" / name / "params.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("dataset: {event_time: at}\nfeatures: {}\n" if name != "bad" else "trian: {}\n", encoding="utf-8")
    monkeypatch.setattr(up, "prepare", lambda use_case, progress: None)
    monkeypatch.setattr(up, "published_index", lambda: None if current_use_case().name == "shop" else {"generation": "g"})
    monkeypatch.setattr(up, "published_nights", lambda name, **_: [] if name == "shop" else ["night"])

    def train(progress: object) -> SimpleNamespace:
        if (name := current_use_case().name) == "dull":
            raise TrainingError("the label is constant")
        return SimpleNamespace(name=name, version="1", sha256="a" * 64)

    monkeypatch.setattr(up, "train_first_champion", train)
    return use_cases(Path())


def test_each_is_prepared_as_itself_and_a_broken_one_is_named_and_left_out(declared: list[UseCase]) -> None:
    steps: list[str] = []
    ready = up.prepare_all(declared, steps.append)
    assert [(one.use_case.name, one.scored, one.indexed) for one in ready] == [("flights", True, True), ("shop", False, False)]
    assert [step for step in steps if "champion" in step] == [
        f"{name}: champion: {name} version 1, sha256 aaaaaaaaaaaa" for name in ("flights", "shop")
    ]
    left_out = {step.partition(" IS LEFT OUT: ")[0]: step for step in steps if "LEFT OUT" in step}
    assert set(left_out) == {"bad", "dull"}
    assert "trian" in left_out["bad"]
    assert "the label is constant" in left_out["dull"]


def test_without_one_that_can_run_it_does_not_start(declared: list[UseCase]) -> None:
    with pytest.raises(ConfigError, match="bad, dull"):
        up.prepare_all(declared[1:3], lambda step: None)


def test_an_example_waits_until_its_data_is_made(declared: list[UseCase]) -> None:
    shop = declared[-1]
    shop.declaration.with_name("generate.py").write_text("", encoding="utf-8")
    source = "dataset: {event_time: at, source: {kind: parquet, path: var/examples/shop/*.parquet}}\nfeatures: {}\n"
    shop.declaration.write_text(source, encoding="utf-8")
    steps: list[str] = []
    assert [one.use_case.name for one in up.prepare_all(declared, steps.append)] == ["flights"]
    assert any(step.startswith("shop waits: ") and "make demo use_case=shop" in step for step in steps)
    data = shop.root / "var" / "examples" / "shop" / "day.parquet"
    data.parent.mkdir(parents=True)
    data.touch()
    assert [one.use_case.name for one in up.prepare_all(declared, steps.append)] == ["flights", "shop"]


class Alive(Server):
    """A server that was never started. Whether its services have ended is said."""

    def __init__(self, *, ended: bool = False) -> None:
        self.ended = ended

    def client(self) -> Client:
        """Return a client that nobody uses."""
        return Client("http://localhost", "", "")

    def check(self) -> None:
        """Raise as a server whose service has ended."""
        if self.ended:
            raise ServerError("the scheduler has ended")


@pytest.mark.parametrize(
    "failure", [TimeoutError("after 1200 s"), ApiError("POST", "/dags/x/dagRuns", 404, "not found"), ConfigError("no")]
)
def test_first_nights_that_fail_stop_no_other_use_case(
    declared: list[UseCase], monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(up, "score_nights", fail)
    monkeypatch.setattr(up, "first_partitions", lambda: ["2024-01-01"])
    steps: list[str] = []
    one = up.Ready(declared[-1], scored=False, indexed=True)
    up._begin(one, Alive(), steps.append)
    assert [step.partition(". The schedule")[0] for step in steps] == [f"NO FIRST NIGHTS: {failure}"]
    with pytest.raises(ServerError, match="the scheduler has ended"):
        up._begin(one, Alive(ended=True), steps.append)
