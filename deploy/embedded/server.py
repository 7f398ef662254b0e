"""Airflow on this one machine: SQLite, LocalExecutor, loopback only, with secrets made at the first start.

    with Server() as server:
        server.client().trigger("nightly_batch_scoring", "2013-04-01")

Everything lies under ``<NIGHTSHIFT_HOME>/airflow``. ``airflow standalone`` cannot be told to leave out its log servers, which listen on every
interface, so the services are started one by one, each on a leash (`plugins/nightshift_airflow/leash.py`): none outlives this process.
"""

import base64
import contextlib
import functools
import importlib.metadata
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.embedded.client import ApiError, Client

REPOSITORY = Path(__file__).resolve().parents[2]
LEASH = REPOSITORY / "plugins" / "nightshift_airflow" / "leash.py"
HOST = "127.0.0.1"
USERNAME = "nightshift"
_STOP_S = 10  # how long a service may take to end by itself
_SERVICES = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
}


class ServerError(Exception):
    """Airflow did not start, or a service of it has died; the message holds the end of its log."""


class Server:
    """Embedded Airflow, as a context manager.

    `schedule` False starts no run by the clock; an asset still starts what waits for it. `progress` is told each step of the start. `repository`
    holds dags/ and plugins/.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        repository: Path = REPOSITORY,
        port: int = 8080,
        schedule: bool = True,
        wait_for_dags: tuple[str, ...] = ("nightly_batch_scoring",),
        progress: Callable[[str], None] = lambda step: None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.home = (home or Path(os.environ.get("NIGHTSHIFT_HOME", repository / "var"))).resolve()
        self.airflow_home = self.home / "airflow"
        self.repository = repository.resolve()
        self.port = port
        self.schedule = schedule
        self.wait_for_dags = wait_for_dags
        self.progress = progress
        self.password = ""
        self._extra_env = dict(env or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where the UI and the API are."""
        return f"http://{HOST}:{self.port}"

    def client(self) -> Client:
        """A client of the API, logged in as the one user."""
        return Client(self.url, USERNAME, self.password)

    def __enter__(self) -> Self:
        stop_on_signals()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, timeout_s: float = 180) -> None:
        """Start all services and wait until they answer and know the DAGs. Raises `ServerError`."""
        self.port = _free_port(self.port)
        self.progress("preparing Airflow's database")
        self._configure()
        self._migrate()
        for name in _SERVICES:
            self._launch(name)
        deadline = time.monotonic() + timeout_s
        self._wait("starting Airflow", self._is_healthy, deadline)
        for dag_id in self.wait_for_dags:
            self._wait(f"waiting for {dag_id}", functools.partial(self._knows, dag_id), deadline)

    def stop(self) -> None:
        """Stop every service; returns when nothing of them is left."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            assert process.stdin is not None
            process.stdin.close()  # the leash kills what is left
            process.wait()
        self._processes.clear()

    def check(self) -> None:
        """Raise `ServerError` if a service has died."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                raise ServerError(f"Airflow's {name} ended with exit code {code}; the end of {self._log(name)}:\n{_tail(self._log(name))}")

    def restart(self, name: str) -> None:
        """Start the service `name` again, after killing what is left of it."""
        process = self._processes.pop(name)
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        self._launch(name)

    def pid(self, name: str) -> int:
        """The process id of the service `name` itself (its parent is the leash)."""
        children = Path(f"/proc/{self._processes[name].pid}/task/{self._processes[name].pid}/children").read_text().split()
        return int(children[0])

    def environment(self) -> dict[str, str]:
        """The environment in which Airflow runs; with it, the ``airflow`` command speaks to this installation."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.airflow_home),
            "NIGHTSHIFT_HOME": str(self.home),
            "NIGHTSHIFT_REPOSITORY": str(self.repository),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DVC_NO_ANALYTICS": "1",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_CONN_NIGHTSHIFT_API": f"http://{USERNAME}:{self.password}@{HOST}:{self.port}",  # the monitor's alerts go to itself
            **self._extra_env,
        }

    def _configure(self) -> None:
        self.airflow_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._secrets()
        self.password = kept["password"]
        passwords = self.airflow_home / "passwords.json"
        _write_private(passwords, json.dumps({USERNAME: self.password}))
        settings: dict[str, dict[str, Any]] = {
            "core": {
                "dags_folder": self.repository / "dags",
                "plugins_folder": self.repository / "plugins",
                "executor": "LocalExecutor",
                "parallelism": 4,  # the default of 32 idle workers takes 1.6 GB
                "load_examples": False,
                "fernet_key": kept["fernet_key"],
                "simple_auth_manager_users": f"{USERNAME}:admin",
                "simple_auth_manager_passwords_file": passwords,
                "execution_api_server_url": f"{self.url}/execution/",
            },
            "database": {"sql_alchemy_conn": f"sqlite:///{self.airflow_home / 'airflow.db'}", "load_default_connections": False},
            "api": {"host": HOST, "port": self.port, "base_url": self.url, "secret_key": kept["secret_key"], "workers": 1},
            "api_auth": {"jwt_secret": kept["jwt_secret"]},
            "scheduler": {
                # How many runs the clock may start in one look: none stops the clock alone, where use_job_schedule would stop assets too.
                "max_dagruns_to_create_per_loop": 10 if self.schedule else 0,
                "scheduler_idle_sleep_time": 0.2,  # how long a finished task waits to be noticed; 1 s by default, nine times a night
                "task_instance_heartbeat_timeout": 60,  # how long a task of a killed scheduler counts as running; 300 s by default
                # A killed scheduler counts as dead after 30 s; how often its successor then looks for what it left running: 300 s by default.
                "orphaned_tasks_check_interval": 10,
                "enable_health_check": False,
            },
            "workers": {"min_heartbeat_interval": 1},  # also how long a worker may overlook that its task has ended; 5 s by default
            "dag_processor": {"min_file_process_interval": 30, "refresh_interval": 30},
            "logging": {"base_log_folder": self.airflow_home / "logs"},
            "usage_data_collection": {"enabled": False},
        }
        lines = [
            line
            for section, values in settings.items()
            for line in (f"[{section}]", *(f"{key} = {value}" for key, value in values.items()))
        ]
        _write_private(self.airflow_home / "airflow.cfg", "\n".join(lines) + "\n")

    def _secrets(self) -> dict[str, str]:
        """This installation's secrets, made at its first start and kept for its owner's eyes."""
        path = self.airflow_home / "secrets.json"
        if path.exists():
            kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            return kept
        made = {
            "password": secrets.token_urlsafe(16),
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "secret_key": secrets.token_urlsafe(32),
            "jwt_secret": secrets.token_urlsafe(64),
        }
        _write_private(path, json.dumps(made))
        return made

    def _migrate(self) -> None:
        """Make or update the database, which takes as long as all the rest; skipped where this very Airflow has done it."""
        done_by, version = self.airflow_home / "migrated-by", importlib.metadata.version("apache-airflow-core")
        if (self.airflow_home / "airflow.db").exists() and done_by.exists() and done_by.read_text(encoding="utf-8") == version:
            return
        log = self._log("migrate")
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode != 0:
            raise ServerError(f"airflow db migrate ended with exit code {done.returncode}; the end of {log}:\n{_tail(log)}")
        _write_private(done_by, version)

    def _launch(self, name: str) -> None:
        with self._log(name).open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-IS", str(LEASH), sys.executable, "-m", "airflow", *_SERVICES[name]],
                cwd=self.airflow_home,
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process alone, which stops the services in order
            )

    def _wait(self, step: str, condition: Callable[[], bool], deadline: float) -> None:
        self.progress(step)
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"Airflow is not ready ({step}); the end of {self._log('api-server')}:\n{_tail(self._log('api-server'))}")
            time.sleep(0.2)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310  our own server
                health = json.load(answer)
        except (OSError, ValueError):
            return False
        return all(health.get(part, {}).get("status") == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def _knows(self, dag_id: str) -> bool:
        try:
            self.client().call("GET", f"/dags/{dag_id}")
        except (ApiError, OSError):
            errors = self.client().call("GET", "/importErrors")["import_errors"]
            if errors:
                raise ServerError(f"{errors[0]['filename']} cannot be imported:\n{errors[0]['stack_trace']}") from None
            return False
        return True

    def _log(self, name: str) -> Path:
        directory = self.airflow_home / "logs" / "services"
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f"{name}.log"


def stop_on_signals() -> None:
    """Have SIGTERM and SIGINT end this process through its ``finally`` blocks, also where a shell started it with SIGINT ignored."""
    with contextlib.suppress(ValueError):  # only the main thread may take signals
        signal.signal(signal.SIGTERM, _exit_on_signal)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_on_signal(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _free_port(wanted: int) -> int:
    """`wanted` if nothing listens there, else a port that the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise ServerError(f"no free port on {HOST}")


def _write_private(path: Path, content: str) -> None:
    """Write `content` so that nobody but the owner can ever read it, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def _tail(path: Path, lines: int = 25) -> str:
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(there is no log)"
