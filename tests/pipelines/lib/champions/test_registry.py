"""A model file behind MLflow's server or in an object store: what is missing degrades a run, what does not answer is tried again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.lib.champions.pins import pin_model
from pipelines.lib.champions.registry import Registered, connect, fetch, project_aliases
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ModelError, TransientError
from pipelines.lib.records.ledger import Ledger
from pipelines.registry.promote import promote
from pipelines.registry.register import register
from tests.pipelines.registry.test_register import NAME, REGISTRY, REPOSITORY, TAGS, train


@contextmanager
def mlflow_server(directory: Path) -> Iterator[str]:
    """Start MLflow's server on a free port of loopback, which stores the artefacts itself; yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts"]
    command += ["--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}", "--artifacts-destination", str(directory / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()[-3000:]
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.slow
@pytest.mark.integration
def test_behind_a_server_a_version_is_registered_promoted_pinned_and_degraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    versions: list[Registered] = []
    with mlflow_server(tmp_path / "server") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        client = connect()
        for trees, expect in ((5, "none"), (6, "1")):
            files = train(tmp_path / str(trees), trees)
            for _ in range(2):
                version = register(client, files / "model.skops", files / "model.onnx", files / "report", TAGS, REGISTRY)
            versions.append(version)
            promote(ledger, version, expect=expect, live_from="2013-04-01", actor="test", reason="test")
            project_aliases(client, ledger, NAME)
        assert [version.version for version in versions] == ["1", "2"]
        assert all(version.model_uri.startswith("mlflow-artifacts:/") for version in versions)
        assert client.get_registered_model(NAME).aliases == {"champion": "2", "previous": "1"}

        target = tmp_path / "run" / "model.onnx"
        assert (pin_model(ledger, NAME, target).version, sha256_of(target)) == ("2", versions[1].sha256)
        assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]

        stored = next(path for path in (tmp_path / "server" / "artifacts").rglob("model.onnx") if sha256_of(path) == versions[1].sha256)
        stored.write_bytes(stored.read_bytes()[:-10])
        with pytest.raises(ModelError, match="altered or torn"):
            register(client, files / "model.skops", files / "model.onnx", files / "report", TAGS, REGISTRY)
        stored.unlink()
        with pytest.raises(ModelError, match="does not exist"):
            fetch(versions[1], target)
        assert not target.exists()
        pinned = pin_model(ledger, NAME, target)
        assert (pinned.version, pinned.degraded, sha256_of(target)) == ("1", True, versions[0].sha256)
    with pytest.raises(TransientError):
        fetch(versions[0], target)
    assert not target.exists()


class ObjectStore(BaseHTTPRequestHandler):
    """An S3 without any object, or, for the bucket ``down``, without any answer."""

    def do_GET(self) -> None:
        down = self.path.startswith("/down")
        content = b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>'
        self.send_response(503 if down else 200)
        self.send_header("Content-Length", str(0 if down else len(content)))
        self.end_headers()
        self.wfile.write(b"" if down else content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.costly
def test_an_object_store_without_the_file_is_told_from_one_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ThreadingHTTPServer(("127.0.0.1", 0), ObjectStore)
    threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    access = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in {**access, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.server_port}"}.items():
        monkeypatch.setenv(name, value)
    try:
        for bucket, error in (("mlflow", ModelError), ("down", TransientError)):
            uri = f"s3://{bucket}/1/models/m-1/artifacts/model.onnx"
            with pytest.raises(error):
                fetch(Registered(name=NAME, version="1", sha256="0" * 64, model_uri=uri), tmp_path / "model.onnx")
            assert not (tmp_path / "model.onnx").exists()
    finally:
        store.shutdown()
        store.server_close()


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    stored = tmp_path / "a b.onnx"
    stored.write_bytes(b"model")
    fetch(Registered(name=NAME, version="1", sha256=sha256_of(stored), model_uri=stored.as_uri()), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"model"
