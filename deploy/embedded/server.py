"""Airflow on this one machine: SQLite, LocalExecutor, loopback only, with secrets made at the first start.

    with Server() as server:
        server.client().trigger("nightly_batch_scoring", "2013-04-01")

Everything is under ``<NIGHTSHIFT_HOME>/airflow``. ``airflow standalone`` has no option to leave out its log servers, which listen on every
interface. So the services are started one by one.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from deploy.embedded.client import ApiError, Client
from deploy.embedded.installation import Installation
from deploy.embedded.services import ServerError, Services, tail
from deploy.embedded.settings import HOST, USERNAME, Secrets, load_secrets, write_private, write_settings
from pipelines.lib.core.home import check_path
from pipelines.lib.core.pools import declared_pools
from pipelines.lib.core.use_cases import VARIABLE

REPOSITORY = Path(__file__).resolve().parents[2]
_SERVICES = {
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler", "--skip-serve-logs"],
    "dag-processor": ["airflow", "dag-processor"],
}
_FOR_PEOPLE = {"triggerer": ["airflow", "triggerer", "--skip-serve-logs"]}  # no task waits in it; without one Home shows it red


class Server:
    """Embedded Airflow, as a context manager.

    `schedule` False starts no run by the clock; an asset still starts the DAGs that wait for it. DAG files are read again every `parse_every_s` seconds, which takes
    a quarter of a core if it is 30: too much where nobody changes them. `for_people` also starts a triggerer and MLflow's
    pages. `progress` gets each step of the start. `repository` holds dags/ and plugins/. `installation` is the lock, if the caller has it already.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        repository: Path = REPOSITORY,
        port: int = 8080,
        mlflow_port: int = 5000,
        schedule: bool = True,
        parse_every_s: int = 30,
        for_people: bool = False,
        wait_for_dags: tuple[str, ...] = ("nightly_batch_scoring",),
        progress: Callable[[str], None] = lambda step: None,
        env: dict[str, str] | None = None,
        installation: Installation | None = None,
    ) -> None:
        self.home = check_path("NIGHTSHIFT_HOME", (home or Path(os.environ.get("NIGHTSHIFT_HOME", repository / "var"))).resolve())
        self.airflow_home = self.home / "airflow"
        self.repository = check_path("the repository", repository.resolve())
        self.port = port
        self.schedule, self.parse_every_s = schedule, parse_every_s
        self.wait_for_dags = wait_for_dags
        self.progress = progress
        self.mlflow_url = ""
        self._for_people, self._mlflow_port = for_people, mlflow_port
        self._secrets: Secrets | None = None
        self._extra_env = dict(env or {})
        self._given = installation
        self._installation = installation or Installation(self.home)
        self._services = Services(self.airflow_home / "logs" / "services")

    @property
    def url(self) -> str:
        """Where the UI and the API are."""
        return f"http://{HOST}:{self.port}"

    @property
    def password(self) -> str:
        """The password of the one user; empty before the start."""
        return self._secrets.password if self._secrets else ""

    def client(self) -> Client:
        """Return a client of the API, logged in as the one user."""
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
        """Start all services and wait until they answer and know the DAGs. Raises `ServerError`, or `InstallationInUse` before it writes
        anything.
        """
        if not self._installation.is_held:
            self._installation.acquire()
        self.port = _free_port(self.port)
        self._installation.announce(self.url)
        self._services = Services(self.airflow_home / "logs" / "services", keep=[self._installation.fileno()])
        self.progress("preparing Airflow's database")
        self.airflow_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._secrets = load_secrets(self.airflow_home)
        self._configure()
        self._migrate()
        if self._for_people and self._keeps_models_here():
            self.mlflow_url = f"http://{HOST}:{_free_port(self._mlflow_port)}"
        for name, command in {**_SERVICES, **(_FOR_PEOPLE if self._for_people else {})}.items():
            self._launch(name, command, optional=name in _FOR_PEOPLE)
        deadline = time.monotonic() + timeout_s
        self._wait("starting Airflow", self._is_healthy, deadline)
        self._make_pools()
        for dag_id in self.wait_for_dags:
            self._wait(f"waiting for {dag_id}", functools.partial(self._knows, dag_id), deadline)
        if self.mlflow_url:
            self._launch_mlflow()

    def stop(self) -> None:
        """Stop every service; returns when nothing of them is left."""
        self._services.stop()
        if self._given is None:
            self._installation.release()

    def check(self) -> None:
        """Raise `ServerError` if a service has ended without which nothing is scored."""
        for message in self._services.check():
            self.progress(message)

    def restart(self, name: str) -> None:
        """Start the service `name` again, after killing what is left of it."""
        self._services.kill(name)
        self._launch(name, _SERVICES[name])

    def start_schedule(self) -> None:
        """Let the clock start runs from now on; does nothing if it does already."""
        if not self.schedule:
            self.schedule = True
            self._configure()
            self._services.stop("scheduler")
            self._launch("scheduler", _SERVICES["scheduler"])

    def pid(self, name: str) -> int:
        """Return the process id of the service `name` itself (its parent is the supervisor)."""
        return self._services.pid(name)

    def environment(self) -> dict[str, str]:
        """Return the environment in which Airflow runs; with it, the ``airflow`` command speaks to this installation.

        Airflow serves all use cases, so the choice of this process does not reach it.
        """
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW") and key != VARIABLE}
        if self.mlflow_url:
            inherited.setdefault("NIGHTSHIFT_MLFLOW_UI_URL", self.mlflow_url)
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
        assert self._secrets is not None
        write_settings(
            self.airflow_home, self.repository, self._secrets, port=self.port, schedule=self.schedule, parse_every_s=self.parse_every_s
        )

    def _keeps_models_here(self) -> bool:
        """Return whether MLflow is a database of this machine; elsewhere it has pages of its own."""
        return os.environ.get("MLFLOW_TRACKING_URI", "sqlite:").startswith("sqlite:")

    def _make_pools(self) -> None:
        """Give each pool that a use case declares its slots: a task whose pool does not exist would wait for ever."""
        for name, slots in declared_pools(self.repository).items():
            self.client().make_pool(name, slots)

    def _launch_mlflow(self) -> None:
        """Start MLflow's pages, on loopback only since they need no login. Without job execution they take 5 processes instead of 13."""
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}")
        artifacts = os.environ.get("NIGHTSHIFT_ARTIFACT_ROOT", str(self.home / "mlflow" / "artifacts"))
        address = ["--host", HOST, "--port", self.mlflow_url.rpartition(":")[2], "--workers", "1"]
        store = ["--backend-store-uri", uri, "--no-serve-artifacts", "--default-artifact-root", artifacts]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._launch("mlflow", ["mlflow", "server", *address, *store], optional=True, settings=settings)

    def _migrate(self) -> None:
        """Make or update the database, which takes as long as all the rest; skipped if this very Airflow has done it."""
        done_by, version = self.airflow_home / "migrated-by", importlib.metadata.version("apache-airflow-core")
        if (self.airflow_home / "airflow.db").exists() and done_by.exists() and done_by.read_text(encoding="utf-8") == version:
            return
        log = self._services.log("migrate")
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode != 0:
            raise ServerError(f"airflow db migrate ended with exit code {done.returncode}; the end of {log}:\n{tail(log)}")
        write_private(done_by, version)

    def _launch(self, name: str, command: list[str], *, optional: bool = False, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._services.launch(name, command, cwd=self.airflow_home, env={**self.environment(), **settings}, optional=optional)

    def _wait(self, step: str, condition: Callable[[], bool], deadline: float) -> None:
        self.progress(step)
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                log = self._services.log("api-server")
                raise ServerError(f"Airflow is not ready ({step}); the end of {log}:\n{tail(log)}")
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


def stop_on_signals() -> None:
    """Have SIGTERM and SIGINT end this process through its ``finally`` blocks, also where a shell started it with SIGINT ignored."""
    with contextlib.suppress(ValueError):  # only the main thread may take signals
        signal.signal(signal.SIGTERM, _exit_on_signal)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_on_signal(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _free_port(wanted: int) -> int:
    """Return `wanted` if nothing listens there, else a port that the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise ServerError(f"no free port on {HOST}")
