"""Check use cases before anything runs: their files against each other, and against their data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.use_cases import UseCase, effective, find, use_cases
from pipelines.lib.declarations.clock_zones import zone_warnings
from pipelines.lib.declarations.config_check import check_between, check_config, check_params, located, not_derived, read_sections
from pipelines.lib.declarations.data_check import data_faults, declared_data_faults, first_look
from pipelines.lib.declarations.faults import Fault, Finding, of_error
from pipelines.lib.declarations.weights import weight_warnings
from pipelines.lib.features.declaration import Features


def check(root: Path, names: Sequence[str] = (), *, config_only: bool = False) -> list[Fault]:
    """Return all faults of the use cases `names` below `root`, by default of all of them. A broken one hides no other.

    With `config_only` no source is read. Raises `ConfigError` for a name that there is not.
    """
    return [fault for fault in look(root, names, config_only=config_only) if not fault.finding.warning]


def look(root: Path, names: Sequence[str] = (), *, config_only: bool = False) -> list[Fault]:
    """Return what `check` does, and the warnings: what is allowed but probably not meant."""
    every = use_cases(root)
    asked = [find(name, root) for name in names] if names else every
    declarations = {str(use_case.declaration) for use_case in asked}
    faults = [fault for fault in check_between(every) if fault.file in declarations]
    for use_case in asked:
        try:
            found, missing = check_config(use_case), _not_derived(use_case)
            faults += found
            if not config_only:
                faults += _data_faults(use_case, found, derived=not missing)
            faults += missing  # last: `derive` needs all the others corrected
            faults += _warnings(use_case)
        except Exception as error:  # a rule that fails must not hide the faults of other use cases
            fact = f"stopped with {type(error).__name__}: {str(error).strip() or 'no message'}"
            faults.append(Fault(str(use_case.declaration), Finding("the check", fact, "correct the other faults of this file first")))
    return list(dict.fromkeys(faults))


def faults_before_derive(use_case: UseCase) -> list[Fault]:
    """Return the faults for which nothing can be derived for `use_case`: those of its declaration, and of its source as far as it can be read."""
    found = effective(use_case, derived=False)
    return list(dict.fromkeys(located(use_case, found, [*check_params(found.params, whole=False), *first_look(found.params)])))


def faults_of_derived(use_case: UseCase, content: dict[str, Any]) -> list[Fault]:
    """Return the faults that `use_case` has once `content` is its ``derived.yaml``: those of its files, or else of its data.

    No trial of the estimator is made.
    """
    found = effective(use_case, derived=content)
    faults = check_params(found.params)
    if not faults:
        faults = data_faults(found.params, parse_section(found.params.get("features") or {}, Features, f"{use_case.declaration}: features"))
    # The content is new: to derive it again would not correct it.
    return list(dict.fromkeys(located(use_case, found, [replace(fault, derivable=False) for fault in faults if not fault.warning])))


def _warnings(use_case: UseCase) -> list[Fault]:
    try:
        found = effective(use_case, strict=False)
    except ConfigError:  # its files cannot be read, which is a fault of its own
        return []
    return located(use_case, found, [*zone_warnings(found.params), *weight_warnings(found.params)])


def _not_derived(use_case: UseCase) -> list[Fault]:
    try:
        fault = not_derived(use_case, effective(use_case, strict=False).params)
    except ConfigError:  # its files cannot be read, which is a fault of its own
        return []
    return [] if fault is None else [fault]


def _data_faults(use_case: UseCase, known: Sequence[Fault], *, derived: bool) -> list[Fault]:
    """Return the faults of the data of `use_case`; as many as can be found if its files have the `known` ones, or are not `derived` yet."""
    try:
        found = effective(use_case, strict=False)
        if not derived and (faults := first_look(found.params)):
            return located(use_case, found, faults)
        models, faulty = read_sections(found.params, whole=False)
        if any(fault.key.partition(".")[0] == "dataset" for fault in faulty):
            return []  # the check of the files has named them
        broken = {fault.finding.key.partition(".")[0] for fault in known} - {"dataset", "features"}
        params = {section: content for section, content in found.params.items() if section in {"dataset", *models} - broken}
        features = models.get("features")
        faults = (data_faults if derived else declared_data_faults)(params, features if isinstance(features, Features) else Features())
    except ConfigError as error:
        return [] if known else [Fault(str(use_case.declaration), of_error(error, "dataset"))]
    return located(use_case, found, faults)
