"""Measure the index on a data set of your own, or all of the benchmark: see `benchmarks.index`."""

import argparse
import json
import sys

from benchmarks.index import TARGETS, main
from benchmarks.index.builds import KINDS
from benchmarks.index.own_data import given
from benchmarks.measure import missed, record


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=__doc__)
    for option, shape in (("vectors", "[n, d]"), ("queries", "[m, d]"), ("truth", "[m, >= 10] ids of the true neighbours")):
        parser.add_argument(f"--{option}", help=f"NumPy file of a data set of your own, {shape}")
    files = vars(parser.parse_args())
    if any(files.values()) and not all(files.values()):
        parser.error("--vectors, --queries and --truth go together")
    figures = given(**files) if files["vectors"] else main()
    print(json.dumps(figures, indent=2))
    print(f"in {record('index_given' if files['vectors'] else 'index', figures)}")
    faults = missed(figures, {key: target for key, target in TARGETS.items() if key in figures})
    faults += [str(figures[f"{kind}_refused"]) for kind in KINDS if f"{kind}_refused" in figures]
    for fault in faults:
        print(f"MISSED {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(_main())
