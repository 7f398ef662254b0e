"""YAML is parsed by the fast parser, and means what it means to the slow one."""

from pathlib import Path

import pytest
import yaml

from pipelines.lib.core import yaml_text
from pipelines.lib.core.yaml_text import parse_yaml

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("file", ["params.yaml", "run.yaml", "dvc.yaml", "tests/datasets/orders_params.yaml"])
def test_both_parsers_give_the_same(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert parse_yaml(text) == yaml.load(text, Loader=yaml.SafeLoader)


def test_the_fast_parser_is_taken() -> None:
    assert yaml_text._LOADER is yaml.CSafeLoader


def test_no_object_is_made() -> None:
    with pytest.raises(yaml.YAMLError, match="python/object"):
        parse_yaml("!!python/object/apply:os.getcwd []")


def test_an_error_names_the_line() -> None:
    with pytest.raises(yaml.YAMLError, match="line 2, column 5"):
        parse_yaml("a: 1\nb: c: d\n")
