"""Write ``docs/benchmarks.md`` from the results of the benchmarks.

``python -m benchmarks.page`` copies each result of this installation (``var/bench/<name>.json``, ``var/faults/report.json``) to
``benchmarks/results``, where git keeps it, and writes the page from that folder. A figure that a result does not hold is left out of the page.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.page_topics import TOPICS, Topic
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.home import REPOSITORY, home

RESULTS = REPOSITORY / "benchmarks" / "results"
PAGE = REPOSITORY / "docs" / "benchmarks.md"


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page that `results`, by the name of their benchmark, make."""
    return "\n".join([*_head(), *(line for topic in TOPICS for line in _section(topic, results.get(topic.name)))])


def load(directory: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the results that git keeps, by the name of their benchmark."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))}


def take(names: Mapping[str, Path], directory: Path = RESULTS) -> list[str]:
    """Copy results that say when and at which commit they were measured to `directory`; return the names of those copied."""
    taken = []
    for name, path in names.items():
        if path.exists() and {"measured", "commit"} <= json.loads(text := path.read_text(encoding="utf-8")).keys():
            with replacing(directory / f"{name}.json") as temporary:
                temporary.write_text(text, encoding="utf-8")
            taken.append(name)
    return taken


def main() -> int:
    """Take the results of this installation over, and write the page."""
    measured = {topic.name: home() / "bench" / f"{topic.name}.json" for topic in TOPICS} | {"faults": home() / "faults" / "report.json"}
    taken = take(measured)
    PAGE.write_text(render(load()), encoding="utf-8")
    print(f"{PAGE.relative_to(REPOSITORY)} is written; new results: {', '.join(taken) or 'none'}")
    return 0


def _head() -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield "Do not edit this page. `python -m benchmarks.page` writes it from `benchmarks/results`, after it copied the new results of `var/bench` there."
    yield "Each section names the command that measures its figures, the date, the commit and the machine. Speeds are those of that machine."
    yield ""


def _section(topic: Topic, result: Mapping[str, Any] | None) -> Iterator[str]:
    command = topic.command or f"make bench only={topic.name}"
    yield f"## {topic.title}"
    yield ""
    yield f"{topic.text} Command: `{command}`."
    yield ""
    if result is None:
        yield "No result is recorded."
    else:
        yield "| figure | value | compared with |"
        yield "| --- | ---: | --- |"
        for figure in topic.figures:
            if (value := _value(result, figure.key)) is not None:
                yield f"| {figure.label} | {_shown(value, figure.unit)} | {figure.compared_with} |"
        yield ""
        yield f"Recorded on {result['measured']}, commit `{result['commit'][:7]}`. Machine: {result['machine'].replace(';', ',')}."
    yield ""


def _value(result: Mapping[str, Any], key: str) -> float | None:
    found: Any = result
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    value: float | None = found
    return value


def _shown(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:,} {unit}".strip()


if __name__ == "__main__":
    sys.exit(main())
