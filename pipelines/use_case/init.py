"""Begin a use case: look at its source, and write a first declaration with comments."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import FOLDER, PARAMS, check_name, use_cases
from pipelines.lib.declarations.draft import Draft, Wishes, draft


class _Dumper(yaml.SafeDumper):
    """YAML in which a text with a line break stays on its line."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)

MOST_LINES = 25
_WIDTH = 150
_UNBROKEN = 2**31 - 1


def init(root: Path, name: str, source: str, wishes: Wishes) -> str:
    """Write ``use_cases/<name>/params.yaml`` and return what to do next. Raises `ConfigError` for an existing file and for what is missing."""
    check_name(name, "init")
    path = root / FOLDER / name / PARAMS
    if path.exists() or name in [use_case.name for use_case in use_cases(root)]:
        raise ConfigError(f"the use case {name} exists already ({path}); choose another name, or remove it first")
    found = draft(source, wishes)
    text = declaration(name, found)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    warned = "".join(f"\nWARNING: {warning}" for warning in found.warnings)
    return f"{path} written.{warned}\nRead it and correct it, then run\n  python -m pipelines.use_case derive {name}\n  python -m pipelines.use_case check {name}"


def declaration(name: str, draft: Draft) -> str:
    """Return the text of the declaration: at most `MOST_LINES` lines besides comments. Features that do not fit are named in a comment."""
    features = {key: dict(value) if isinstance(value, Mapping) else value for key, value in draft.features.items()}
    left_out: list[str] = []
    while len(lines := list(_lines(name, draft, features))) > MOST_LINES:
        group = max(("lagged", "categorical", "numeric"), key=lambda one: len(features.get(one, ())))
        for _ in range(1 + len(features[group]) // 20):  # a wide table is shortened in steps of a twentieth
            left_out.insert(0, features[group].popitem()[0])
    comments = [*draft.notes, *(f"WARNING: {warning}" for warning in draft.warnings)]
    if left_out:
        comments.append(f"No feature, for want of room: {', '.join(left_out)}.")
    head = [f"# {name}: written by python -m pipelines.use_case init. docs/reference/tables.md explains each key.", "#"]
    return "\n".join([*head, *(f"# {_printable(comment)}" for comment in comments), *lines]) + "\n"


def _printable(text: str) -> str:
    """Return `text` with line breaks and other control characters written as escapes: a value of the source must not end its comment."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _lines(name: str, draft: Draft, features: Mapping[str, Any]) -> Iterator[str]:
    yield "dataset:"
    yield f"  name: {name}"
    for key, value in draft.dataset.items():
        if value != []:
            yield from _entry(key, value)
    yield "features:"
    for key, value in features.items():
        yield from _entry(key, value)


def _entry(key: str, value: Any) -> list[str]:
    """Return the lines of a key. A line breaks between the items of a mapping, and never within one."""
    if not isinstance(value, Mapping):
        return [f"  {key}: {_flow(value)}"]
    items = [_flow({name: content})[1:-1] for name, content in value.items()]
    lines = [f"  {key}: {{"]
    for number, item in enumerate(items):
        end = "}" if number == len(items) - 1 else ","
        if number and len(f"{lines[-1]} {item}{end}") > _WIDTH:
            lines.append(f"    {item}{end}")
        else:
            lines[-1] += f"{' ' if number else ''}{item}{end}"
    return lines


def _flow(value: Any) -> str:
    """Return `value` as YAML on one line."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=_UNBROKEN)
    return str(text).removesuffix("\n").removesuffix("\n...")
