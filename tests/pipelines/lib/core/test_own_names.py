"""Names that use cases have to themselves: two that share one are both refused, and the others are not."""

from pathlib import Path

import pytest
import yaml

from pipelines.lib.core import use_cases
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.own_names import names_of, require_own_names, shared_names
from pipelines.lib.core.use_cases import UseCase, find


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the default use case, flights, and another one, fraud."""
    declare(tmp_path / "params.yaml", {"dataset": {"name": "flights"}, "registry": {"name": "delay_model", "experiment": "delays"}})
    declare(tmp_path / "use_cases/fraud/params.yaml", {"dataset": {"event_time": "paid_at"}})
    return tmp_path


def declare(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")


def registry(repository: Path, use_case: str, **names: str) -> UseCase:
    declare(repository / f"use_cases/{use_case}/params.yaml", {"registry": names})
    return find(use_case, repository)


def test_names_follow_from_that_of_the_use_case_unless_a_file_says_otherwise(repository: Path) -> None:
    declare(repository / "use_cases/fraud/derived.yaml", {"registry": {"encoder": "cards", "name": "derived"}})
    found = names_of(registry(repository, "fraud", name="declared"))
    assert found == {
        "the use case": ("use case", "fraud"),
        "registry.experiment": ("experiment", "fraud"),
        "registry.name": ("model", "declared"),
        "registry.encoder": ("model", "cards"),
    }


def test_use_cases_with_names_of_their_own_are_accepted(repository: Path) -> None:
    registry(repository, "churn", name="churns")
    for use_case in use_cases.use_cases(repository):
        require_own_names(use_case)


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ({"name": "fraud_model"}, "registry.name"),
        ({"name": "Fraud_Model"}, "registry.name"),
        ({"encoder": "fraud_encoder"}, "registry.encoder"),
        ({"experiment": "fraud"}, "registry.experiment"),
    ],
)
def test_both_use_cases_of_one_name_are_refused_and_no_other_one(repository: Path, names: dict[str, str], key: str) -> None:
    churn = registry(repository, "churn", **names)
    for one, other in ((churn, find("fraud", repository)), (find("fraud", repository), churn)):
        with pytest.raises(ConfigError) as refused:
            require_own_names(one)
        assert str(refused.value).startswith(f"{one.declaration}: {key} is ")
        assert f"as in {other.declaration}" in str(refused.value)
    require_own_names(find("flights", repository))


def test_a_model_and_an_encoder_are_entries_of_one_registry(repository: Path) -> None:
    churn = registry(repository, "churn", encoder="fraud_model")
    [shared] = shared_names(use_cases.use_cases(repository))[churn]
    assert shared.fact == f"is 'fraud_model', as registry.name is in {find('fraud', repository).declaration}"


def test_the_default_use_case_is_compared_too(repository: Path) -> None:
    registry(repository, "churn", name="delay_model")
    with pytest.raises(ConfigError, match=r"use_cases/churn/params\.yaml"):
        require_own_names(find("", repository))


def test_a_folder_with_the_name_of_the_default_use_case_is_refused(repository: Path) -> None:
    declare(repository / "use_cases/flights/params.yaml", {})
    default, other = use_cases.use_cases(repository)[0], use_cases.use_cases(repository)[1]
    assert "the use case" in [one.key for one in shared_names(use_cases.use_cases(repository))[default]]
    with pytest.raises(ConfigError, match=r"the use case is 'flights'.*Rename the folder"):
        require_own_names(other)


def test_a_file_that_cannot_be_read_stops_no_other_use_case(repository: Path) -> None:
    declare(repository / "use_cases/churn/params.yaml", "registry: [")
    require_own_names(find("fraud", repository))


def test_files_without_a_registry_are_not_parsed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run costs the same with fifty use cases as with one."""
    for number in range(50):
        declare(repository / f"use_cases/case_{number}/params.yaml", {"dataset": {"event_time": "at"}})
    parsed: list[Path] = []
    parse = use_cases._parse

    def noted(path: Path, written: int) -> dict[str, object]:
        parsed.append(path)
        return parse(path, written)

    monkeypatch.setattr(use_cases, "_parse", noted)
    require_own_names(find("case_7", repository))
    assert set(parsed) == {repository / "params.yaml"}
