"""Edit dvc.yaml, params.yaml and a DAG as texts, so that their comments and their layout stay."""

import ast
import re
import textwrap
from collections.abc import Callable
from typing import Any

import yaml

WIDTH = 140  # of a line in dvc.yaml


class EditError(Exception):
    """A file does not have the form that an edit relies on."""


def add_section(text: str, name: str, after: str | None) -> str:
    """Return `params.yaml` with an empty section `name` after the section `after`, or at the end."""
    return _checked(_insert(text, f"\n{name}: {{}}\n", after, indent=""), text, lambda content: content | {name: {}})


def add_model(text: str, name: str, module: str, model: str) -> str:
    """Return the table of the sections' models with `model` of `module` as the last one, for the section `name`."""
    head, end, tail = text.partition("\n}\n")
    if not end:
        raise EditError("the table of the sections has no end")
    return f'{head}\n    "{name}": ("{module}", "{model}"),{end}{tail}'


def add_row(text: str, name: str, after: str | None) -> str:
    """Return the page of all sections with a row for the empty section `name` after the row of `after`, or as the last one."""
    lines = text.rstrip("\n").split("\n")
    place = next((number for number, line in enumerate(lines) if line.startswith(f"| `{after}` | ")), len(lines) - 1)
    return "\n".join([*lines[: place + 1], f"| `{name}` | Replace this cell: what the stage is for | `{{}}` |", *lines[place + 1 :]]) + "\n"


def add_stage(text: str, name: str, after: str | None, entry: dict[str, Any], cmd: str) -> str:
    """Return `dvc.yaml` with the stage `name` after the stage `after`, or after the last one. `entry` is its content without `cmd`."""
    lines = [f"  {name}:", "    cmd: >-", *textwrap.wrap(cmd, WIDTH, **_indented(6))]
    for key, values in entry.items():
        flow = f"{key}: [{', '.join(yaml.safe_dump(value, default_flow_style=True, width=10**6).split(chr(10))[0] for value in values)}]"
        lines += textwrap.wrap(flow, WIDTH, **_indented(4, 6))
    last = list(yaml.safe_load(text)["stages"])[-1]
    new = _insert(text, "\n".join(lines) + "\n", after or last, indent="  ")
    return _checked(new, text, lambda content: {**content, "stages": {**content["stages"], name: {"cmd": cmd, **entry}}})


def add_task(text: str, name: str, after: str) -> str:
    """Return the file of a DAG with the task `name` after the task `after`, among the tasks, in the order and in the docstring."""
    tree = ast.parse(text)
    if not (arrows := _left_of_an_arrow(tree, after)):
        raise EditError(f"no chain of the DAG goes on after {after}")
    lines = text.splitlines(keepends=True)
    for at in sorted(arrows[1:], key=_place, reverse=True):  # what followed `after` elsewhere now follows the new task
        lines[at.lineno - 1] = _replaced(lines[at.lineno - 1], at.col_offset, len(after.encode()), name)
    first = arrows[0]
    lines[first.lineno - 1] = _replaced(lines[first.lineno - 1], first.col_offset, len(after.encode()), f"{after} >> {name}")
    assigned = next(node for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == after)
    lines.insert(int(assigned.end_lineno or 0), f'{" " * assigned.col_offset}{name} = DvcStageOperator(task_id="{name}")\n')
    docstring = tree.body[0]
    if ast.get_docstring(tree) is None or lines[int(docstring.end_lineno or 0) - 1].strip() != '"""':
        raise EditError("the DAG has no docstring that ends with a line of its own, so the UI could not show the new task")
    lines.insert(int(docstring.end_lineno or 0) - 1, f"\n* `{name}`: Replace this line. Describe the task for a reader of the UI.\n")
    new = "".join(lines)
    ast.parse(new)
    return new


def _left_of_an_arrow(tree: ast.Module, task: str) -> list[ast.Name]:
    """Find each `task` directly before ``>>``, in the order of the file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.RShift):
            left = node.left.right if isinstance(node.left, ast.BinOp) else node.left
            found += [name for name in ast.walk(left) if isinstance(name, ast.Name) and name.id == task]
    return sorted(found, key=_place)


def _place(node: ast.Name) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _replaced(line: str, offset: int, length: int, new: str) -> str:
    """Replace `length` bytes of `line` from `offset` on, as `ast` counts them, by `new`."""
    raw = line.encode()
    return (raw[:offset] + new.encode() + raw[offset + length :]).decode()


def _insert(text: str, new: str, after: str | None, *, indent: str) -> str:
    """Put `new` after the block of the key `after`, which is indented by `indent`, or at the end if there is none."""
    lines = text.splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if after and line.startswith(f"{indent}{after}:")), None)
    if start is None:
        return text.rstrip("\n") + "\n" + new
    deeper = re.compile(rf"{indent}\s+\S|\s*$")
    end = next((number for number in range(start + 1, len(lines)) if not deeper.match(lines[number])), len(lines))
    while not lines[end - 1].strip():
        end -= 1
    return "".join([*lines[:end], new, *lines[end:]])


def _checked(new: str, old: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Return `new`, if it reads as the content of `old` after `change`, and nothing else is different."""
    if yaml.safe_load(new) != change(yaml.safe_load(old)):
        raise EditError("the edited file has another content than intended; give it the block style of the committed file")
    return new


def _indented(first: int, rest: int | None = None) -> dict[str, Any]:
    ahead = {"initial_indent": " " * first, "subsequent_indent": " " * (first if rest is None else rest)}
    return {**ahead, "break_long_words": False, "break_on_hyphens": False}
