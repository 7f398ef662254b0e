"""A contract between stages is read whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.lib.core.contract import STRICT, from_json, to_json
from pipelines.lib.core.errors import DataError


@dataclass(frozen=True)
class Told:
    __pydantic_config__ = STRICT

    share: float
    names: tuple[str, ...]
    rest: str | None


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "told.json"
    for written in (Told(0.1, ("é", ""), None), Told(1.0, (), "x")):
        path.write_text(to_json(written), encoding="utf-8")
        assert from_json(Told, path, "tell") == written


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"share": 0.1, "names": [', "the file: Invalid JSON"),
        (b"\xff", "the file: Invalid JSON"),
        (b'{"share": 0.1, "names": []}', "rest: Field required"),
        (b'{"share": "0.1", "names": [], "rest": null}', "share: "),
        (b'{"share": NaN, "names": [], "rest": null}', "share: "),
        (b'{"share": 1, "names": [], "rest": null, "more": 1}', "more: "),
    ],
)
def test_a_torn_or_foreign_file_names_the_field_and_the_stage(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "told.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"told\.json is not a whole told \({named}.*; run tell again"):
        from_json(Told, path, "tell")


def test_what_json_does_not_know_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(Told(float("nan"), (), None))
