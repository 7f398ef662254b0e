"""The tasks of a DAG, read from its file, so that no test keeps a list of its own and forgets the next task."""

import ast
from functools import cache
from pathlib import Path

OF_SPARSE_TABLES = frozenset({"publish_empty_night"})
"""Tasks of those use cases alone whose tables may have nights without rows."""

DAGS = Path(__file__).resolve().parents[1] / "dags"


@cache
def operators(dag_id: str) -> dict[str, str]:
    """Return each task with the name of its operator, in the order of the file."""
    calls = [node for node in ast.walk(ast.parse((DAGS / f"{dag_id}.py").read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    found = {}
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        for argument in call.keywords:
            if argument.arg == "task_id" and isinstance(argument.value, ast.Constant):
                found[str(argument.value.value)] = ast.unparse(call.func).removesuffix(".partial")
    return found


def task_ids(dag_id: str) -> tuple[str, ...]:
    """Return the tasks of a DAG in the order of its file, without ``push_run``, which exists only if DVC has a remote, and those of sparse tables."""
    return tuple(task for task in operators(dag_id) if task not in OF_SPARSE_TABLES)
