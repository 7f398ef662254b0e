"""Small JSON files by which stages, tasks and pages tell each other what happened."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.lib.core.atomic import replacing


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object at `path`, empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
