"""The production topology: what docker-compose.yaml promises, and what its first container does."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose.init import git, make_pools, prepare_repository
from deploy.compose.make_secrets import main as write_secrets
from deploy.compose.make_secrets import make_secrets
from tests.servers import missing, postgres

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yaml"
TEXT = FILE.read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
AIRFLOW = {"airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker"}
OURS = AIRFLOW | {"init", "mlflow"}
OPTIONAL = {"NIGHTSHIFT_TAG", "AIRFLOW_PORT", "AIRFLOW_BASE_URL", "WORKER_CONCURRENCY"}


def environments() -> Iterator[tuple[str, str, str]]:
    for service, content in SERVICES.items():
        for name, value in content.get("environment", {}).items():
            yield service, name, str(value)


def test_every_service_is_there() -> None:
    assert set(SERVICES) == OURS | {"postgres", "redis", "s3"}


def test_our_services_share_one_hardened_image() -> None:
    assert {SERVICES[name]["image"] for name in OURS} == {"nightshift:${NIGHTSHIFT_TAG:-local}"}
    for name in OURS:
        service = SERVICES[name]
        assert service["build"]["dockerfile"] == "deploy/Dockerfile"
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
    for name, service in SERVICES.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name


def test_no_other_image_floats() -> None:
    for name in set(SERVICES) - OURS:
        assert re.search(r":[^:]*\d", SERVICES[name]["image"]), f"{name} has an image without a version"


def test_every_port_is_on_loopback() -> None:
    ports = [(name, port) for name, service in SERVICES.items() for port in service.get("ports", [])]
    assert [name for name, _ in ports] == ["airflow-api-server"], "only the API server is published"
    assert all(str(port).startswith("127.0.0.1:") for _, port in ports)
    assert not any("network_mode" in service for service in SERVICES.values())


def test_mlflow_and_the_stores_have_no_way_out() -> None:
    networks = yaml.safe_load(TEXT)["networks"]
    assert networks["backend"] == {"internal": True}
    for name in ("mlflow", "postgres", "redis", "s3"):
        assert SERVICES[name]["networks"] == ["backend"]


def test_no_secret_is_written_down() -> None:
    for service, name, value in environments():
        if re.search(r"PASSWORD|SECRET|FERNET|ACCESS_KEY|AUTH(?!_MANAGER)|ROOT_USER", name):
            assert re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", value), f"{service}: {name} is {value!r}; take it from the environment"
        for password in re.findall(r"://[^/@:]*:(\$\{[^}]*\}|[^@]*)@", value):
            assert re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", password), f"{service}: {name} holds a password"
    assert not re.search(r"(?i)(password|secret)\w*[ \t]*[:=][ \t]*[\"']?[a-z0-9]", re.sub(r"\$\{[^}]*\}", "", TEXT))


def test_every_variable_is_required_or_has_a_harmless_default() -> None:
    assert set(re.findall(r"\$\{([A-Z0-9_]+):-", TEXT)) == OPTIONAL
    assert set(re.findall(r"\$\{([A-Z0-9_]+):\?", TEXT)) == set(make_secrets())
    assert not re.search(r"(?<!\$)\$[A-Z]|\$\{[A-Z0-9_]+\}", TEXT), "a variable without a default would silently be empty"
    document = (ROOT / "docs" / "how-to" / "production.md").read_text(encoding="utf-8")
    assert [name for name in sorted(OPTIONAL | set(make_secrets())) if f"`{name}`" not in document] == []


def test_production_mode_is_set_and_no_usage_data_is_sent() -> None:
    for name in AIRFLOW | {"init"}:
        environment = SERVICES[name]["environment"]
        assert environment["NIGHTSHIFT_MODE"] == "production", name
        assert environment["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False", name
        assert environment["AIRFLOW__CORE__AUTH_MANAGER"].endswith("FabAuthManager"), name
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for setting in (
        "DVC_NO_ANALYTICS=1",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "GX_ANALYTICS_ENABLED=false",
        "USER 50000:50000",
        "--require-hashes",
    ):
        assert setting in image
    assert SERVICES["s3"]["environment"]["MINIO_UPDATE"] == "off"


def test_a_worker_holds_no_key_of_airflow() -> None:
    worker = SERVICES["airflow-worker"]["environment"]
    keys = ("SQL_ALCHEMY_CONN", "FERNET", "JWT_SECRET", "API__SECRET_KEY")
    assert [name for name in worker if any(key in name for key in keys)] == []
    assert worker["NIGHTSHIFT_LEDGER_URL"].startswith("postgresql")
    assert worker["NIGHTSHIFT_PUBLISHED_URL"].startswith("s3://")
    for name in AIRFLOW - {"airflow-worker"}:
        assert "NIGHTSHIFT_LEDGER_URL" not in SERVICES[name]["environment"], name
        assert all(volume.endswith(":ro") for volume in SERVICES[name]["volumes"] if volume.startswith("nightshift:")), name


def test_workers_share_the_index_on_a_volume() -> None:
    worker = SERVICES["airflow-worker"]
    assert worker["environment"]["NIGHTSHIFT_INDEX_DIR"].startswith("/srv/nightshift/")
    assert "nightshift:/srv/nightshift" in worker["volumes"], "writable: a pointer is switched there, and readers lock what they read"


def test_services_wait_for_what_they_need_and_come_back() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name == "init" else "unless-stopped"), name
        assert name == "init" or "healthcheck" in service, name
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == ("service_completed_successfully" if needed == "init" else "service_healthy"), (name, needed)


def test_log_servers_that_listen_everywhere_are_left_out() -> None:
    for name in ("airflow-scheduler", "airflow-triggerer", "airflow-worker"):
        assert "--skip-serve-logs" in SERVICES[name]["command"], name


def test_secrets_are_private_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "var" / "production.env"
    assert write_secrets([str(path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text(encoding="utf-8")
    assert write_secrets([str(path)]) == 1
    assert path.read_text(encoding="utf-8") == before
    values = dict(line.split("=", 1) for line in before.splitlines())
    assert len(set(values.values())) == len(values)
    assert all(value not in capsys.readouterr().out for value in values.values())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A repository as the image holds one."""
    path = tmp_path / "image"
    path.mkdir()
    git("init", "--quiet", "--initial-branch", "main", cwd=path)
    commit(path, "first")
    return path


def commit(path: Path, content: str) -> str:
    (path / "code.py").write_text(content, encoding="utf-8")
    git("add", "code.py", cwd=path)
    git("-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", content, cwd=path)
    return git("rev-parse", "HEAD", cwd=path)


def test_the_repository_follows_the_image_and_keeps_its_runs(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "srv" / "repository"
    first = prepare_repository(image, target)
    git("update-ref", "refs/runs/nightly_batch_scoring/a", first, cwd=target)
    assert prepare_repository(image, target) == first
    second = commit(image, "second")
    assert prepare_repository(image, target) == second
    assert (target / "code.py").read_text(encoding="utf-8") == "second"
    assert git("rev-parse", "refs/runs/nightly_batch_scoring/a", cwd=target) == first


def test_a_change_made_on_the_server_is_refused(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "repository"
    first = prepare_repository(image, target)
    (target / "code.py").write_text("by hand", encoding="utf-8")
    commit(image, "second")
    with pytest.raises(RuntimeError, match=r"code\.py"):
        prepare_repository(image, target)
    assert (target / "code.py").read_text(encoding="utf-8") == "by hand"
    assert git("rev-parse", "HEAD", cwd=target) == first


def compose(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Docker Compose, the old command or the new plugin, on an environment without any of its variables."""
    if shutil.which("docker-compose"):
        command = ["docker-compose"]
    elif shutil.which("docker") and subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode == 0:
        command = ["docker", "compose"]
    else:
        missing("neither docker-compose nor docker compose is installed; apt-get install docker-compose")
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [*command, "--file", str(FILE), *arguments], check=False, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60
    )


@pytest.mark.integration
def test_compose_accepts_the_file(tmp_path: Path) -> None:
    secrets = tmp_path / "production.env"
    write_secrets([str(secrets)])
    done = compose("--env-file", str(secrets), "config")
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout)["services"]
    assert set(resolved) == set(SERVICES)
    assert "${" not in done.stdout


@pytest.mark.integration
def test_compose_refuses_to_start_without_secrets() -> None:
    done = compose("config")
    assert done.returncode != 0
    assert "set it, see docs/how-to/production.md" in done.stderr


@pytest.mark.integration
def test_each_database_opens_for_its_role_alone() -> None:
    """The script that the postgres image runs, on a real PostgreSQL; a password with a quote in it is not an accident waiting to happen."""
    names = ("airflow", "celery", "mlflow", "ledger")
    passwords = {f"{name.upper()}_DB_PASSWORD": f"{name}'s" for name in names}
    with postgres() as socket:
        environment = {"PATH": os.environ["PATH"], "PGHOST": str(socket), **passwords}
        subprocess.run(["sh", str(ROOT / "deploy" / "compose" / "databases.sh")], env=environment, check=True)

        def select(role: str, database: str) -> "subprocess.CompletedProcess[str]":
            command = ["psql", "--no-psqlrc", "-h", str(socket), "-U", role, "-d", database, "-c", "CREATE TABLE t (x int)"]
            return subprocess.run(command, check=False, capture_output=True, text=True)

        for role in names:
            for database in names:
                done = select(role, database)
                if role == database:
                    assert done.returncode == 0, done.stderr
                else:
                    assert "permission denied for database" in done.stderr


@pytest.mark.slow
@pytest.mark.integration
def test_the_environment_can_do_what_the_topology_asks(tmp_path: Path) -> None:
    """Import the modules that a laptop never imports: the Celery executor, and MLflow's way to S3."""
    imports = "import airflow.providers.celery.executors.celery_executor, boto3, psycopg2, redis, s3fs"
    done = subprocess.run(
        [sys.executable, "-c", imports], env={**os.environ, "AIRFLOW_HOME": str(tmp_path)}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"the locked environment cannot run docker-compose.yaml: {done.stderr.splitlines()[-1]}"


def test_the_pools_that_use_cases_declare_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines").mkdir()
    for name in ("params.yaml", "pipelines/defaults.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "use_cases" / "shop").mkdir(parents=True)
    (tmp_path / "use_cases" / "shop" / "params.yaml").write_text("pool: {slots: 3}\n", encoding="utf-8")
    commands: list[list[str]] = []
    monkeypatch.setattr("deploy.compose.init.subprocess.run", lambda command, **_: commands.append(command))
    make_pools(tmp_path)
    assert [command[3:6] for command in commands] == [["pools", "set", "shop"]]
    assert commands[0][6] == "3"
