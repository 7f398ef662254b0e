"""Work with use cases: ``python -m pipelines.use_case {show,derive,check,init}``. See docs/reference/use-cases.md."""

import argparse
import datetime as dt
import os
import sys
from pathlib import Path

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.core.use_cases import VARIABLE, find, use_cases


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 1 if it cannot be done or the check has found faults, which are on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.use_case", description="Work with use cases, from the root of the repository."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("show", help="print the effective parameters, and where each comes from")
    one.add_argument(
        "name",
        nargs="?",
        default=os.environ.get(VARIABLE, ""),
        help=f"the use case; by default that of {VARIABLE}, else that of params.yaml",
    )
    one.add_argument("--section", default="", help="only this section")
    one = commands.add_parser("derive", help="read the history once, and write derived.yaml")
    one.add_argument("name", help="the use case")
    one.add_argument("--again", action="store_true", help="replace an existing derived.yaml")
    one = commands.add_parser("check", help="list every fault of the files and the data, before anything runs")
    one.add_argument("names", nargs="*", metavar="name", help="the use cases; by default all of them")
    one.add_argument("--config-only", action="store_true", help="read no source")
    one = commands.add_parser("init", help="look at a source, and write a first declaration with comments")
    one.add_argument("name", help="the use case: lower-case letters, digits and underscores")
    one.add_argument("--source", required=True, help="a .parquet or .csv file, a folder of them, a Delta table, or s3://bucket/key")
    one.add_argument("--label", default="", help="SQL over the columns that is true or false, or a number to forecast")
    one.add_argument("--label-name", default="outcome", help="the name of the label, not that of a column")
    one.add_argument("--delay-days", type=int, help="days after which the outcome is known")
    one.add_argument("--key", nargs="+", default=(), help="the columns that name a row")
    one.add_argument("--event-time", default="", help="the column of the time of the event")
    one.add_argument("--known-later", nargs="+", default=(), help="columns that are filled after the event")
    given = parser.parse_args(arguments)
    try:
        return {"show": _show, "derive": _derive, "check": _check, "init": _init}[given.command](given)
    except NightshiftError as error:
        print(error, file=sys.stderr)
        return 1


def _show(given: argparse.Namespace) -> int:
    from pipelines.use_case.show import show

    print(show(find(given.name, Path()), given.section), end="")
    return 0


def _derive(given: argparse.Namespace) -> int:
    from pipelines.use_case.derive import derive

    print(derive(find(given.name, Path()), dt.datetime.now(tz=dt.UTC).date(), again=given.again))
    return 0


def _check(given: argparse.Namespace) -> int:
    from pipelines.use_case.check import look

    found = look(Path(), given.names, config_only=given.config_only)
    for warning in (fault for fault in found if fault.finding.warning):
        print(f"WARNING: {warning}", file=sys.stderr)
    faults = [fault for fault in found if not fault.finding.warning]
    names = given.names or [one.name for one in use_cases(Path())]
    if faults:
        print(f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'} in {', '.join(names)}:", *faults, sep="\n", file=sys.stderr)
        return 1
    print(f"No fault in {', '.join(names)}.")
    return 0


def _init(given: argparse.Namespace) -> int:
    from pipelines.lib.declarations.draft import Wishes
    from pipelines.use_case.init import init

    wishes = Wishes(given.label, given.label_name, given.delay_days, tuple(given.key), given.event_time, tuple(given.known_later))
    print(init(Path(), given.name, given.source, wishes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
