"""Make an installation that was moved or copied work at its new place; does nothing to one that was not.

`make up` and `make demo` do this before anything else. ``python -m deploy.embedded.relocation`` does it alone.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from nightshift_airflow.workspaces import repair_workspaces

from deploy.embedded.installation import Installation, InstallationInUse
from pipelines.lib.champions.relocation import follow_artifacts
from pipelines.lib.core import home
from pipelines.lib.core.errors import NightshiftError


def relocate(progress: Callable[[str], None]) -> None:
    """Correct the absolute paths that MLflow, git and DVC keep of this installation. The caller holds its lock."""
    uri = home.tracking_uri()
    if uri.startswith("sqlite:///") and "://" not in home.artifact_root():
        former = follow_artifacts(Path(sa.make_url(uri).database or os.devnull), Path(home.artifact_root()))
        if former:
            progress(f"this installation was at {former.removesuffix('/mlflow/artifacts')}: MLflow's database now names {home.home()}")
    repair_workspaces()


def main() -> int:
    """Relocate this installation; 0 when its paths are right."""
    try:
        with Installation(home.home()):
            relocate(print)
    except (InstallationInUse, NightshiftError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
