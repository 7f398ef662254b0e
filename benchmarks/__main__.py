"""Run the benchmarks: all of them, or one with ``--only``. Each writes ``var/bench/<name>.json``.

One that fails does not stop the others. The exit code is 1 when any failed or missed a target.
"""

import argparse
import importlib
import pkgutil
import sys
import traceback
from collections.abc import Sequence

import benchmarks
from benchmarks.measure import missed, record

NO_BENCHMARKS = {"__main__", "flights_of_2013", "measure", "page", "page_topics"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for and tell each figure."""
    names = sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - NO_BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=names, help="run this one alone")
    only = parser.parse_args(argv).only
    faults = []
    for name in [only] if only else names:
        print(f"== {name}", flush=True)
        try:
            module = importlib.import_module(f"benchmarks.{name}")
            figures = module.main()
            path = record(name, figures)
            for key, value in figures.items():
                print(f"   {key}: {value}")
            print(f"   in {path}", flush=True)
            faults += [f"{name}: {fault}" for fault in missed(figures, getattr(module, "TARGETS", {}))]
        except Exception as error:  # the next benchmark shall run all the same
            traceback.print_exc()
            faults.append(f"{name}: {type(error).__name__}: {error}")
    for fault in faults:
        print(f"MISSED {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
