"""Parameters are read strictly: what is misspelt, missing or of the wrong type is named."""

from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section, load_section, read_yaml


class Example(Section):
    rows: int
    share: float = 0.5


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_section(tmp_path: Path) -> None:
    assert load_section("example", Example, _write(tmp_path / "params.yaml", "example: {rows: 3}")) == Example(rows=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("example: {rows: 3, shrae: 0.1}", "shrae"),
        ("example: {}", "rows"),
        ("example: {rows: '3'}", "rows"),
        ("example: {rows: true}", "rows"),
        ("example:", "found None"),
        ("other: {}", "has no section 'example'; it has other"),
    ],
)
def test_a_wrong_one_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_section("example", Example, _write(tmp_path / "params.yaml", text))


class Words(Section):
    words: tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[no]", r'words\.words\.0: .*YAML reads no, off and false as booleans; write it in quotes, for example "no"'),
        ("[a, 12]", r'words\.words\.1: .*YAML reads 12 as a number; write it in quotes, for example "12"'),
    ],
)
def test_a_word_that_yaml_reads_as_another_thing_is_named_with_what_to_write(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_section("words", Words, _write(tmp_path / "params.yaml", f"words: {{words: {text}}}"))


@pytest.mark.parametrize("text", ["a: [1", "- 1", "", "a: \x00"])
def test_a_file_that_is_not_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        read_yaml(_write(tmp_path / "params.yaml", text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_yaml(tmp_path / "params.yaml")


def test_sections_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Example(rows=3).rows = 4
