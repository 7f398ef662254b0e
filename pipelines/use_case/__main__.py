"""Work with use cases: ``python -m pipelines.use_case {show,derive}``. See docs/reference/use-cases.md."""

import argparse
import datetime as dt
import sys
from pathlib import Path

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.core.use_cases import find
from pipelines.use_case.derive import derive
from pipelines.use_case.show import show


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 if it cannot be done, with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.use_case", description="Work with use cases, from the root of the repository."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("show", help="print the effective parameters, and where each comes from")
    one.add_argument("name", nargs="?", default="", help="the use case; by default that of params.yaml")
    one.add_argument("--section", default="", help="only this section")
    one = commands.add_parser("derive", help="read the history once, and write derived.yaml")
    one.add_argument("name", help="the use case")
    one.add_argument("--again", action="store_true", help="replace an existing derived.yaml")
    given = parser.parse_args(arguments)
    try:
        print(_run(given), end="")
    except NightshiftError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> str:
    use_case = find(given.name, Path())
    if given.command == "show":
        return show(use_case, given.section)
    return derive(use_case, dt.datetime.now(tz=dt.UTC).date(), again=given.again) + "\n"


if __name__ == "__main__":
    sys.exit(main())
