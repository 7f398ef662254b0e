"""The names that each use case has to itself. With a name in common, two use cases would share a ledger, an index, an experiment or a folder.

The names follow from the use case's own unless its files say otherwise, so only the files that declare a section ``registry`` are parsed: a
run of one use case must not pay for the parameters of fifty others.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import UseCase, declared_section, named, use_cases

_KINDS = {"name": "model", "encoder": "model", "experiment": "experiment"}
"""The keys of section ``registry``, and what each names. A model and an encoder are entries of one registry."""


@dataclass(frozen=True)
class Shared:
    """The `name` at the dotted `key` of a use case, which is also that of the use case `other`, at its key `other_key`."""

    key: str
    name: str
    other: UseCase
    other_key: str

    @property
    def fact(self) -> str:
        """Say in words whose name it is too, without the key."""
        at = "" if self.other_key == self.key else f" {self.other_key} is"
        return f"is {self.name!r}, as{at} in {self.other.declaration}"

    @property
    def remedy(self) -> str:
        """Say what a person has to write instead."""
        if self.key == USE_CASE:
            return "rename the folder of one of them, or dataset.name in params.yaml"
        return f"give one of them another name, or take {self.key} out: a name of its own follows"


USE_CASE = "the use case"
"""The key of the name of a use case itself, which is that of its folder, or ``dataset.name`` of the default one."""


def names_of(use_case: UseCase) -> dict[str, tuple[str, str]]:
    """Return for each key the kind of thing that it names, and the name. A file that cannot be read declares none: a check of its own says so."""
    registry: Mapping[str, object] = named(use_case.name)["registry"]
    with contextlib.suppress(ConfigError):
        registry = {**registry, **declared_section(use_case, "registry")}
    found = {USE_CASE: ("use case", use_case.name)}
    return found | {f"registry.{key}": (kind, str(registry[key])) for key, kind in _KINDS.items() if registry.get(key)}


def shared_names(every: list[UseCase]) -> dict[UseCase, list[Shared]]:
    """Return for each of the use cases `every` the names that another one has too. Both have the fault, since no file says who came first.

    Upper and lower case count as the same: folders and databases may not tell them apart.
    """
    names = {use_case: names_of(use_case) for use_case in every}
    owners: dict[tuple[str, str], list[tuple[UseCase, str]]] = {}
    for use_case, found in names.items():
        for key, (kind, name) in found.items():
            owners.setdefault((kind, name.lower()), []).append((use_case, key))
    return {
        use_case: [
            Shared(key, name, other, other_key)
            for key, (kind, name) in found.items()
            for other, other_key in owners[kind, name.lower()]
            if other != use_case
        ]
        for use_case, found in names.items()
    }


def require_own_names(use_case: UseCase) -> None:
    """Raise `ConfigError` if another use case of the same repository has a name of `use_case`: the error names both files and the key."""
    if shared := shared_names(use_cases(use_case.root))[use_case]:
        raise ConfigError(refusal(use_case, shared))


def refusal(use_case: UseCase, shared: list[Shared]) -> str:
    """Return why `use_case` cannot be used, in words."""
    first = shared[0]
    more = f" ({len(shared) - 1} more: python -m pipelines.use_case check names all)" if len(shared) > 1 else ""
    return f"{use_case.declaration}: {first.key} {first.fact}; the two would share what each must have to itself. {first.remedy[0].upper()}{first.remedy[1:]}{more}"
