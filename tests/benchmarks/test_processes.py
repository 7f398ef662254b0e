"""A benchmark names the functions that it runs in processes of their own by text: each of them exists."""

import importlib
import re
from pathlib import Path

import pytest

import benchmarks

ROOT = Path(benchmarks.__path__[0])
NAMED = re.compile(r'"(?:benchmarks\.(?P<module>[\w.]+)|(?P<step>flights|large)):(?P<function>\w+)"')
FUNCTIONS = sorted(
    {
        (f"benchmarks.{found['module']}" if found["module"] else f"benchmarks.index.{found['step']}", found["function"])
        for path in ROOT.rglob("*.py")
        for found in NAMED.finditer(path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_a_function_that_is_named_by_text_exists(module: str, function: str) -> None:
    assert callable(getattr(importlib.import_module(module), function))


def test_names_are_found_in_every_benchmark_with_processes() -> None:
    modules = {module for module, _ in FUNCTIONS}
    for path in ROOT.glob("*.py"):
        if path.stem != "measure" and "in_process(" in path.read_text(encoding="utf-8"):
            assert f"benchmarks.{path.stem}" in modules
