"""Check the files of a use case against each other, without a look at its data: every fault, not only the first."""

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.own_names import shared_names
from pipelines.lib.core.params import Section, leaves
from pipelines.lib.core.use_cases import CLOCKS, DEFAULTS, FOLDER, Effective, UseCase, effective, unknown_sections, whose
from pipelines.lib.declarations.bare_dataset import bare_dataset_faults, known_columns
from pipelines.lib.declarations.config_rules import declared_faults, name_faults, rule_faults, suite_faults, yaml_faults, zone_faults
from pipelines.lib.declarations.derivation import staleness
from pipelines.lib.declarations.faults import MISSING, Fault, Finding, as_written, closest, read_section, with_file
from pipelines.lib.declarations.sections import SECTIONS, model_of
from pipelines.lib.features.declaration import Features
from pipelines.lib.gates.suite import Gate
from pipelines.lib.tables.dataset import Dataset

GENERATOR = "generate.py"
"""The file of a shipped use case, next to its declaration, that makes its data."""


def check_config(use_case: UseCase) -> list[Fault]:
    """Return all faults of the files of `use_case`, but for a missing ``derived.yaml``; nothing of its source is read."""
    try:
        unknown = unknown_sections(use_case)
        found = effective(use_case, strict=False)
    except ConfigError as error:
        return [Fault(str(use_case.declaration), Finding("the file", str(error)))]
    known = set(SECTIONS)
    faults = [Fault(str(file), Finding(section, "is an unknown section", closest(section, known))) for file, section in unknown]
    table = {section: content for section, content in found.params.items() if section in ("dataset", "features")}
    _, of_table = read_sections(table, whole=False)
    if stale := staleness(use_case):
        faults.append(Fault(str(use_case.derived), Finding("derived_from.sha256", stale.partition("derived_from.sha256 ")[2] or stale)))
    whole = use_case.derived.exists() or (not of_table and not_derived(use_case, found.params) is None)
    return faults + located(use_case, found, check_params(found.params, whole=whole, trial=True))


def located(use_case: UseCase, effective_params: Effective, findings: Iterable[Finding]) -> list[Fault]:
    """Return the `findings` faults, each with the file of `use_case` that sets its key."""
    files = {"derived": use_case.derived, "default": use_case.root / DEFAULTS}
    declare = f"declare it in {use_case.declaration}"
    again = f"{declare}, or run python -m pipelines.use_case derive {use_case.name} --again"
    faults = []
    for one in findings:
        file = files.get(_origin(effective_params.origin, one.key), use_case.declaration)
        remedy = one.remedy
        if file == use_case.derived and one.derivable:
            remedy = f"{one.remedy}: {again}" if one.remedy else again
        elif file == use_case.derived and one.remedy:
            remedy = f"{one.remedy}: {declare}"
        elif one.key.endswith(".source.path") and (use_case.declaration.parent / GENERATOR).exists():
            remedy = f"or make its data: python -m {FOLDER}.{use_case.name}.{Path(GENERATOR).stem}"
        faults.append(
            Fault(str(file), replace(one, fact=with_file(one.fact, use_case.declaration), remedy=with_file(remedy, use_case.declaration)))
        )
    return faults


def require_sound(params: dict[str, Any]) -> None:
    """Raise `ConfigError` with all faults of `params`, the effective parameters of a run. No trial of the estimator is made."""
    if faults := check_params(params):
        name = whose(params).name
        raise ConfigError(
            f"params.yaml of the use case {name} has {len(faults)} {'fault' if len(faults) == 1 else 'faults'}: {' | '.join(map(str, faults))}"
        )


def check_params(params: Mapping[str, Any], *, whole: bool = True, trial: bool = False) -> list[Finding]:
    """Return all faults of `params`, the effective parameters of one use case.

    A section that is not there is not judged. Unless `params` are `whole`, neither is what `derive` finds, nor what depends on it. With a `trial`,
    a small model is made of an estimator that is not the default one, which takes seconds.
    """
    models, found = read_sections(params, whole=whole)
    explained = {fault.key for fault in found}
    found += suite_faults({section: model for section, model in models.items() if isinstance(model, Gate)})
    valid = {section: content for section, content in params.items() if section in models}
    dataset, features = models.get("dataset"), models.get("features")
    rules = declared_faults(valid, trial=trial)
    if isinstance(dataset, Dataset) and isinstance(features, Features):
        rules = itertools.chain(rule_faults(valid, dataset, features), rules)
    elif isinstance(features, Features) and isinstance(table := params.get("dataset"), dict) and not whole:
        own = [column for column in (*_listed(table.get("key")), table.get("event_time")) if isinstance(column, str)]
        rules = itertools.chain(name_faults(params, features, own=own, columns=known_columns(table, params["features"])), rules)
    return found + [fault for fault in rules if fault.key not in explained]


def read_sections(params: Mapping[str, Any], *, whole: bool = True) -> tuple[dict[str, Section], list[Finding]]:
    """Return the sections of `params` that are valid, each as its model, and the faults of the others.

    Unless `params` are `whole`, section dataset has no model, and what `derive` finds may be missing.
    """
    found = [
        Finding(key, f"is {value}, which YAML reads as a date", f'write "{value}"')
        for key, value in leaves({section: content for section, content in params.items() if section in SECTIONS})
        if isinstance(value, dt.date)
    ]
    found += [
        Finding(f"{above}{key}", f"is a key that YAML reads as {_kind_of(key)}", f'write "{as_written(key)}":')
        for section, content in params.items()
        if section in SECTIONS
        for above, key in _odd_keys(content, f"{section}.")
    ]
    found += yaml_faults(params)
    found += zone_faults(params)
    explained = {fault.key for fault in found}
    if "dataset.time_zone" in explained:  # the clocks have it from there
        zone = params["dataset"]["time_zone"]
        explained |= {f"{clock}.timezone" for clock in CLOCKS if (params.get(clock) or {}).get("timezone") == zone}
    models: dict[str, Section] = {}
    for section, content in params.items():
        if section not in SECTIONS:
            continue
        model: Section | None
        if section == "dataset" and not whole:
            model, faults = None, bare_dataset_faults(content, params.get("features"))
        else:
            model, faults = read_section(content, model_of(section), section)
        if not whole:
            faults = [fault for fault in faults if not _left_to_derive(fault)]
        found += [fault for fault in faults if not any(fault.key.startswith(key) for key in explained)]
        if model is not None and not any(key.startswith(f"{section}.") for key in explained):
            models[section] = model
    return models, found


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _odd_keys(content: object, above: str) -> Iterator[tuple[str, object]]:
    """Yield each key within `content` that is not a text, with the dotted keys above it: ``no:``, ``7:``, ``2024-03-01:``."""
    if isinstance(content, list):
        for number, value in enumerate(content):
            yield from _odd_keys(value, f"{above}{number}.")
    for key, value in content.items() if isinstance(content, dict) else ():
        if not isinstance(key, str):
            yield above, key
        yield from _odd_keys(value, f"{above}{key}.")


def _kind_of(key: object) -> str:
    """Return as what YAML has read the `key`."""
    if key is None:
        return "nothing"
    return "a date" if isinstance(key, dt.date) else "a boolean" if isinstance(key, bool) else "a number"


def _left_to_derive(fault: Finding) -> bool:
    """Return whether `fault` is that something is missing which `derive` finds."""
    section = fault.key.partition(".")[0]
    return fault.fact == MISSING and (fault.key == "dataset.columns" or section not in ("dataset", "features"))


def check_between(use_cases: Iterable[UseCase]) -> list[Fault]:
    """Return the names that two of `use_cases` have in common, at each of them: they would share models, an experiment or published tables."""
    return [
        Fault(str(use_case.declaration), Finding(one.key, one.fact, one.remedy))
        for use_case, shared in shared_names(list(use_cases)).items()
        for one in shared
    ]


def _origin(origin: Mapping[str, str], key: str) -> str:
    """Return where the value at `key` comes from, or else one within it or around it."""
    within = [source for name, source in origin.items() if name == key or name.startswith(f"{key}.")]
    if within:
        return "declared" if "declared" in within else within[0]
    around = key.rpartition(".")[0]
    return _origin(origin, around) if around else "declared"


def not_derived(use_case: UseCase, params: Mapping[str, Any]) -> Fault | None:
    """Return the fault if ``derived.yaml`` does not exist and is needed."""
    if use_case.derived.exists():
        return None
    lacking = [] if use_case.default or (params.get("first_run") or {}).get("partition") else ["first_run.partition"]
    dataset = params.get("dataset")
    if isinstance(dataset, dict):
        declared = dataset.get("columns")
        columns = declared if isinstance(declared, dict) else {}
        lacking += [f"dataset.columns.{column}" for column in known_columns(dataset, params.get("features")) if column not in columns]
    if not lacking:
        return None
    remedy = f"run python -m pipelines.use_case derive {use_case.name} and commit the file"
    return Fault(str(use_case.derived), Finding("the file", f"does not exist, and {lacking[0]} is not declared", remedy))
