"""List the files of this repository that a module imports, directly or not. The text of the module is read; nothing is run."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path("pipelines/lib")


def imported_by(text: str) -> frozenset[Path]:
    """Find the files of this repository that a module with this `text` imports itself, inside functions as well."""
    found: set[Path | None] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            found |= {_file(f"{node.module}.{alias.name}") or _file(str(node.module)) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {_file(alias.name) for alias in node.names}
    return frozenset(path for path in found if path)


@cache
def imported(module: Path) -> frozenset[Path]:
    """Find the files that `module` (a path below the root) imports itself."""
    return imported_by((ROOT / module).read_text(encoding="utf-8"))


def closure(*modules: Path) -> set[Path]:
    """Find `modules` and every file that they need."""
    seen: set[Path] = set()
    pending = [*modules]
    while pending:
        if (one := pending.pop()) not in seen:
            seen.add(one)
            pending += imported(one)
    return seen


def packages(*modules: Path) -> list[str]:
    """List the packages of the library that `modules` need, as ``dvc.yaml`` names them: ``pipelines/lib/core``."""
    return sorted({str(Path(*file.parts[:3])) for file in _below_library(closure(*modules))})


def _below_library(files: set[Path]) -> Iterator[Path]:
    return (file for file in files if file.is_relative_to(LIBRARY) and len(file.parts) > 3)


def _file(dotted: str) -> Path | None:
    path = Path(*dotted.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if (ROOT / one).is_file()), None)
