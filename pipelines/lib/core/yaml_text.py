"""Parse YAML with libyaml, which takes a tenth of the time: PyYAML's own parser needs 37 ms for ``params.yaml``, and stages read it often."""

from typing import Any

import yaml

_BASE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a build of PyYAML without libyaml has only the second


class _Loader(_BASE):  # type: ignore[misc]  # which of the two is known at run time alone
    """A safe loader that refuses a mapping in which one key stands twice. PyYAML takes the last one, and drops what the first one says."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of `node`. Raises `yaml.YAMLError` with both places of a key that stands twice."""
        first: dict[str, yaml.ScalarNode] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            before = first.setdefault(key.value, key)
            if before is not key and before.tag == key.tag:
                raise yaml.MarkedYAMLError(
                    f"the key {key.value!r} stands here", before.start_mark, "and here again; join the two, or take one out", key.start_mark
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_yaml(text: str) -> Any:
    """Return the content of `text`: plain values, lists and mappings. Raises `yaml.YAMLError`, also for a key that a mapping has twice."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
