"""Layers of section ``train``: the parameters of one estimator do not go to another one.

Only the standard library is needed here, as in `pipelines.lib.core.use_cases`.
"""

from collections.abc import Mapping
from typing import Any


def drop_parameters(below: dict[str, Any], above: Mapping[str, Any], origin: dict[str, str]) -> None:
    """Drop steps and parameters of section ``train`` that are `below`, and their `origin`, if the layer `above` names another estimator."""
    train, said = below.get("train") or {}, (above.get("train") or {}).get("estimator")
    if said is not None and said != train.get("estimator"):
        train |= {"steps": [], "parameters": {}}
        for name in [name for name in origin if name.startswith("train.parameters.")]:
            del origin[name]
