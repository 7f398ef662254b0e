"""YAML is parsed by the fast parser, and means what it means to the slow one."""

from pathlib import Path

import pytest
import yaml

from pipelines.lib.core import yaml_text
from pipelines.lib.core.yaml_text import parse_yaml

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("file", ["params.yaml", "run.yaml", "dvc.yaml", "use_cases/orders/params.yaml"])
def test_both_parsers_give_the_same(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert parse_yaml(text) == yaml.load(text, Loader=yaml.SafeLoader)


def test_the_fast_parser_is_taken() -> None:
    assert issubclass(yaml_text._Loader, yaml.CSafeLoader)


def test_no_object_is_made() -> None:
    with pytest.raises(yaml.YAMLError, match="python/object"):
        parse_yaml("!!python/object/apply:os.getcwd []")


def test_an_error_names_the_line() -> None:
    with pytest.raises(yaml.YAMLError, match="line 2, column 5"):
        parse_yaml("a: 1\nb: c: d\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {max_depth: 8}\nscore: {}\ntrain: {max_depth: 3}\n", "(?s)the key 'train' stands here.*line 1.*here again.*line 3"),
        ("train:\n  max_depth: 8\n  max_depth: 3\n", "the key 'max_depth' stands here"),
        ("{1: a, 1: b}", "the key '1' stands here"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_places(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError, match=said):
        parse_yaml(text)


def test_a_merged_mapping_may_be_overridden_and_a_text_is_another_key_than_a_number() -> None:
    assert parse_yaml("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}\ne: [*a]\nf: {1: x, '1': y}") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 3, "c": 2},
        "e": [{"b": 1, "c": 2}],
        "f": {1: "x", "1": "y"},
    }
