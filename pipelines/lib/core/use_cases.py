"""Use cases: each is one table with its features, label, model, gates and policies, declared in one short file.

    params.yaml                        the default use case
    use_cases/<name>/params.yaml       every other one: what a person has declared
    use_cases/<name>/derived.yaml      what was read from its history, written once by ``python -m pipelines.use_case derive``
    pipelines/defaults.yaml            what holds for any table

The effective parameters of a use case are these files, one laid upon another: the declaration wins over what was derived, that over names that follow from
the use case's own, and those over the defaults. They follow from the commit alone. A run's workspace holds them as its ``params.yaml``, so stages and DVC read
one whole file and know nothing of use cases; its section ``use_case`` says whose they are.

Only the standard library and YAML are needed here: Airflow reads use cases each time that it parses a DAG.
"""

import difflib
import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.estimator_layers import drop_parameters
from pipelines.lib.core.yaml_text import parse_yaml

VARIABLE = "NIGHTSHIFT_USE_CASE"
"""Environment variable with which a person in the repository names a use case; without it, it is the default one."""

FOLDER, PARAMS, DERIVED, DEFAULTS, SECTION = "use_cases", "params.yaml", "derived.yaml", "pipelines/defaults.yaml", "use_case"

_NAME = re.compile(r"(?!default_pool\Z)[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)  # the pool of a use case has its name
_LONGEST_NAME = 40


@dataclass(frozen=True)
class UseCase:
    """The use case `name` of the repository or workspace at `root`; `default` if it is the one of ``params.yaml`` itself."""

    name: str
    default: bool
    root: Path

    @functools.cached_property
    def declaration(self) -> Path:
        """The file that a person writes."""
        return self.root / PARAMS if self.default else self.root / FOLDER / self.name / PARAMS

    @functools.cached_property
    def derived(self) -> Path:
        """The file of what was read from the history. It need not exist."""
        return self.root / FOLDER / self.name / DERIVED

    @property
    def suffix(self) -> str:
        """The end of the ids of its DAGs and of the names of its assets; empty for the default use case."""
        return "" if self.default else f"__{self.name}"

    @property
    def folder(self) -> str:
        """Where its tables stand below the published store; the default use case has the store's own top."""
        return "" if self.default else f"{FOLDER}/{self.name}"


@dataclass(frozen=True)
class Effective:
    """The effective `params`, and for each value by its dotted key the `origin`: ``declared``, ``derived``, ``name``, ``time_zone`` or ``default``."""

    params: dict[str, Any]
    origin: dict[str, str]


def check_name(name: str, where: str) -> str:
    """Return `name` if it can name a use case. Raises `ConfigError` that names `where`."""
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: a use case cannot be named {name[:60]!r}; write up to {_LONGEST_NAME} lower-case letters, digits and single underscores, "
            "beginning with a letter, such as card_fraud (but not default_pool, which is a pool of Airflow)"
        )
    return name


def use_cases(root: Path) -> list[UseCase]:
    """Return the use cases declared below `root`: the default one, then the others by name, sound or not. Nothing of their content is judged."""
    others = sorted(path.parent.name for path in (root / FOLDER).glob(f"*/{PARAMS}"))
    return [UseCase(_default_name(root), True, root), *(UseCase(name, False, root) for name in others)]


def find(name: str, root: Path) -> UseCase:
    """Return the use case `name`; the default one for an empty name. Raises `ConfigError` that lists those that exist."""
    known = use_cases(root)
    for use_case in known:
        if name in ("", use_case.name):
            return use_case
    raise ConfigError(
        f"there is no use case {name[:60]!r}; there are {', '.join(one.name for one in known)}. Write {FOLDER}/{name[:60]}/{PARAMS}, or let "
        "python -m pipelines.use_case init write it"
    )


def effective(use_case: UseCase, *, derived: bool | dict[str, Any] = True, strict: bool = True) -> Effective:
    """Return the effective parameters; without `derived`, as if nothing had been read from the history. `derived` may be a content yet to be written.

    Raises `ConfigError` for a file that is not a YAML mapping, for an unfit name and, if `strict`, for an unknown section. Otherwise it is left out.
    """
    root = use_case.root
    check_name(use_case.name, str(use_case.declaration.relative_to(root)))
    files = _files(use_case, derived=bool(derived) or strict) | ({use_case.derived: derived} if isinstance(derived, dict) else {})
    known = _known_sections(root)
    if strict and (unknown := _unknown(files, known)):
        file, section = unknown[0]
        meant = difflib.get_close_matches(section, known, n=1)
        remedy = f"write {meant[0]}" if meant else f"take it out: {DEFAULTS} has all sections but dataset and features"
        raise ConfigError(f"{file.relative_to(root)} has the unknown section {section!r}; {remedy}")
    layers = [("name", named(use_case.name)), ("time_zone", _in_zone(files[use_case.declaration].get("dataset") or {}))]
    layers += [("derived", files[use_case.derived])] if derived and use_case.derived in files else []
    layers.append(("declared", files[use_case.declaration]))
    defaults = _laid(root / DEFAULTS, (root / DEFAULTS).stat().st_mtime_ns)
    params, origin = _copy(defaults.params), dict(defaults.origin)
    for source, layer in layers:
        drop_parameters(params, layer, origin)
        _lay_upon(params, {key: value for key, value in layer.items() if key in known}, source, origin, "")
    return Effective({SECTION: {"name": use_case.name, "default": use_case.default}, **params}, origin)


def unknown_sections(use_case: UseCase) -> list[tuple[Path, str]]:
    """Return the sections that the files of `use_case` have and nobody reads, each with its file."""
    return _unknown(_files(use_case), _known_sections(use_case.root))


def _unknown(files: Mapping[Path, dict[str, Any]], known: frozenset[str]) -> list[tuple[Path, str]]:
    own = {PARAMS: known, DERIVED: known | {"derived_from"}}
    return [(path, str(section)) for path, content in files.items() for section in content if section not in own[path.name]]


def _files(use_case: UseCase, *, derived: bool = True) -> dict[Path, dict[str, Any]]:
    """Return the content of each file of `use_case`: its declaration and, if asked for and there, its `derived` file."""
    files = {use_case.declaration: _read(use_case.declaration)}
    if derived and use_case.derived.exists():
        files[use_case.derived] = _read(use_case.derived)
    return files


def declared_section(use_case: UseCase, section: str) -> dict[str, Any]:
    """Return what the files of `use_case` say in `section`, without names that follow and defaults. A file that does not name it is not parsed."""
    found: dict[str, Any] = {}
    for path in (use_case.derived, use_case.declaration):
        if section in _text(path):
            found |= _read(path).get(section) or {}
    return found


def _known_sections(root: Path) -> frozenset[str]:
    return frozenset({*_read(root / DEFAULTS), "dataset", "features", "first_run"})


def whose(params: dict[str, Any], root: Path = Path()) -> UseCase:
    """Return the use case that `params`, a whole parameter file, belongs to: the default one, unless its section ``use_case`` says otherwise."""
    said = params.get(SECTION)
    if said is None:
        return UseCase(str((params.get("dataset") or {}).get("name") or "default"), True, root)
    if not isinstance(said, dict) or set(said) != {"name", "default"} or not isinstance(said["default"], bool):
        raise ConfigError(f"{PARAMS}: {SECTION} is {said!r}; it is written by Nightshift into a run's workspace: take it out")
    return UseCase(check_name(str(said["name"]), f"{PARAMS}: {SECTION}.name"), said["default"], root)


def _default_name(root: Path) -> str:
    """Return the name of the default use case, which is that of its table; ``default`` where its file cannot be read."""
    try:
        return str(_read(root / PARAMS)["dataset"]["name"])
    except (ConfigError, KeyError, TypeError):
        return "default"


def named(name: str) -> dict[str, Any]:
    """Return the names that follow from that of the use case, each of them apart from those of every other use case."""
    return {"dataset": {"name": name}, "registry": {"experiment": name, "name": f"{name}_model", "encoder": f"{name}_encoder"}}


CLOCKS = ("nightly_batch_scoring", "weekly_index_rebuild", "champion_replay")
"""The sections of DAGs that a clock starts. It is that of the dataset's time zone, unless a section says otherwise."""


def _in_zone(dataset: dict[str, Any]) -> dict[str, Any]:
    return {section: {"timezone": zone} for section in CLOCKS} if isinstance(zone := dataset.get("time_zone"), str) else {}


def _lay_upon(below: dict[str, Any], above: dict[str, Any], source: str, origin: dict[str, str], where: str) -> None:
    """Lay mapping `above` upon `below`, in place: mappings are joined key by key, anything else of `above` replaces what is there."""
    for key, value in above.items():
        dotted = f"{where}{key}"
        if isinstance(value, dict) and isinstance(below.get(key, {}), dict):
            _lay_upon(below.setdefault(key, {}), value, source, origin, f"{dotted}.")
        else:
            if isinstance(below.get(key), dict):
                for covered in [name for name in origin if name.startswith(f"{dotted}.")]:
                    del origin[covered]
            below[key] = _copy(value)
            origin[dotted] = source


def _copy(value: Any) -> Any:
    """Return `value` as objects of its own: `_read` gives the same ones again."""
    if isinstance(value, dict):
        return {key: _copy(each) if isinstance(each, dict | list) else each for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); a use case is declared there") from None


@functools.lru_cache(maxsize=8)
def _laid(path: Path, written: int) -> Effective:
    """Return the defaults with their origins, which are the same below every use case."""
    params: dict[str, Any] = {}
    origin: dict[str, str] = {}
    _lay_upon(params, _parse(path, written), "default", origin, "")
    return Effective(params, origin)


@functools.lru_cache(maxsize=256)
def _parse(path: Path, written: int) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    sections: dict[str, Any] = content if isinstance(content, dict) else {"it": content}
    if odd := [f"{key} is {value!r}"[:80] for key, value in sections.items() if not isinstance(value, dict)]:
        raise ConfigError(f"{path} must hold a mapping of sections, each of them a mapping; {odd[0]}. Write its keys, or take it out")
    return sections


def chosen(root: Path) -> UseCase | None:
    """Return the use case that `VARIABLE` names; None if it is not set."""
    name = os.environ.get(VARIABLE, "")
    return find(name, root) if name else None


def write_into(directory: Path, name: str, root: Path | None = None) -> bool:
    """Write ``params.yaml`` and ``run.yaml`` of use case `name` into `directory`; return whether they changed.

    It is as the files below `root` declare it, by default those in `directory` itself.
    The default use case has both files already, and keeps them byte for byte if its declaration is whole.
    """
    use_case = find(name, root or directory)
    if use_case.default and not (use_case.root / DEFAULTS).exists():  # a commit of before there were use cases has one whole file
        return False
    if use_case.default and SECTION in _read(use_case.declaration):
        return False
    found, run = effective(use_case), first_run_of(use_case)
    if use_case.default and {**found.params, SECTION: None} == {**_read(use_case.declaration), SECTION: None}:
        return False
    _write(directory / PARAMS, found.params)
    if run:
        _write(directory / "run.yaml", run)
    return True


def first_run_of(use_case: UseCase) -> dict[str, Any] | None:
    """Return the ``run.yaml`` of a run on a laptop: as of the partition of section ``first_run``, with models that the run trains itself.

    None for a default use case without that section: the repository has its ``run.yaml``.
    """
    params = effective(use_case).params
    if not (params.get("first_run") or {}).get("partition"):
        if use_case.default:
            return None
        raise ConfigError(
            f"{use_case.declaration}: first_run.partition is missing; write it, or run python -m pipelines.use_case derive {use_case.name}"
        )
    registry = params["registry"]
    return {
        "partition": params["first_run"]["partition"],
        "source_revision": None,
        "model": {"path": "data/models/model.onnx", "name": registry["name"]},
        "encoder": {"path": "data/encoder/encoder.onnx", "name": registry["encoder"], "sha256": None},
        "shards": params["first_run"].get("shards", []),
        "index": None,
        "rebuild": "auto",
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")
