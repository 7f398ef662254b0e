"""``make repro use_case=fraud stage=evaluate``: ``dvc repro`` of one use case, as on a laptop, without Airflow.

The default use case is reproduced in the repository, any other one in a directory of its own: see `nightshift_airflow.laptops`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightshift_airflow import places
from nightshift_airflow.cache_lock import cache_in_use
from nightshift_airflow.laptops import open_laptop
from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.stage_process import stage_environment

from deploy.embedded.preparation import prepare
from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.core.use_cases import VARIABLE, UseCase, find

_WORKSPACE_ONLY = ("NIGHTSHIFT_RECORDED",)
"""`stage_environment` sets it for a run that Airflow records. A laptop's is recorded by its ``dvc.lock``."""


def main(arguments: list[str] | None = None) -> int:
    """Reproduce the stages that are asked for, by default all; return DVC's exit code, or 1 if it was not started."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.repro", description="Run dvc repro of one use case.")
    parser.add_argument("--use-case", default=os.environ.get(VARIABLE, ""), help="which one; by default that of params.yaml")
    parser.add_argument("stages", nargs="*", help="stages of dvc.yaml, with all that they need; by default everything")
    given = parser.parse_args(arguments)
    try:
        use_case = find(given.use_case, places.REPOSITORY)
        return reproduce(use_case, given.stages)
    except (NightshiftError, RunRefusedError, OSError) as error:
        print(f"Nothing was reproduced: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def reproduce(use_case: UseCase, stages: Sequence[str]) -> int:
    """Run ``dvc repro`` of `stages` for `use_case`, and return its exit code."""
    prepare(use_case, print)
    if use_case.default:
        environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
        return _dvc(stages, places.REPOSITORY, environment)
    with open_laptop(use_case) as workspace:
        environment = {key: value for key, value in stage_environment(workspace).items() if key not in _WORKSPACE_ONLY}
        code = _dvc(stages, workspace.path, environment)
    print(f"{use_case.name} is in {workspace.path}: data, reports, models and its dvc.lock")
    return code


def _dvc(stages: Sequence[str], directory: Path, environment: Mapping[str, str]) -> int:
    with cache_in_use(places.cache()):
        return subprocess.run([sys.executable, "-m", "dvc", "repro", *stages], cwd=directory, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
