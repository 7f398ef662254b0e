"""Pages that people read: templates of ``pipelines/lib/pages/templates`` filled to self-contained HTML. Everything is escaped but figures."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **context: Any) -> str:
    """Fill `template`; a name that it uses and `context` lacks is an error. SVG from `pipelines.lib.pages.figures` passes as ``| safe``."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**context)
