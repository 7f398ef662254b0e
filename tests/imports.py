"""Which files of this repository a module imports, directly or not: read from their text, so that nothing is run."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path("pipelines/lib")


@cache
def imported(module: Path) -> frozenset[Path]:
    """The files that `module` (a path below the root) imports itself, inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {_file(f"{node.module}.{alias.name}") or _file(str(node.module)) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {_file(alias.name) for alias in node.names}
    return frozenset(found - {None})  # type: ignore[arg-type]


def closure(module: Path) -> set[Path]:
    """`module` and every file that it needs."""
    seen: set[Path] = set()
    pending = [module]
    while pending:
        if (one := pending.pop()) not in seen:
            seen.add(one)
            pending += imported(one)
    return seen


def packages(module: Path) -> list[str]:
    """The packages of the library that `module` needs, as ``dvc.yaml`` names them: ``pipelines/lib/core``."""
    return sorted({str(Path(*file.parts[:3])) for file in _below_library(closure(module))})


def _below_library(files: set[Path]) -> Iterator[Path]:
    return (file for file in files if file.is_relative_to(LIBRARY) and len(file.parts) > 3)


def _file(dotted: str) -> Path | None:
    path = Path(*dotted.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if (ROOT / one).is_file()), None)
