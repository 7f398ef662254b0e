"""The home that the tests give to Airflow goes away with their process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "import os; from tests.airflow_home import use_temporary_home as use; use(); {then}; print(os.environ['AIRFLOW_HOME'])"


def home_of(then: str, tmp_path: Path, **environment: str) -> Path:
    """Run a process of tests in the temporary directory `tmp_path`, which does `then`. Return Airflow's home of it."""
    known = {key: value for key, value in os.environ.items() if key != "AIRFLOW_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(then=then)],
        env={**known, "TMPDIR": str(tmp_path), **environment},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.split()[-1])


def test_a_temporary_home_is_removed_with_its_content(tmp_path: Path) -> None:
    home = home_of("open(os.environ['AIRFLOW_HOME'] + '/airflow.cfg', 'w').close()", tmp_path)
    assert home.parent == tmp_path
    assert not home.exists()


def test_a_forked_process_does_not_remove_it(tmp_path: Path) -> None:
    forked = "import sys; child = os.fork(); child or sys.exit(); os.waitpid(child, 0); assert os.path.isdir(os.environ['AIRFLOW_HOME'])"
    assert not home_of(forked, tmp_path).exists()


def test_a_home_that_is_given_stays(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    assert home_of("pass", tmp_path, AIRFLOW_HOME=str(given)) == given
    assert given.is_dir()
