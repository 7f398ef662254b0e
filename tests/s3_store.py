"""Fixtures: one S3 server for a module, and an empty bucket on it for a test."""

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.lib.sources import s3_files
from tests.servers import s3

ACCESS = {"AWS_ACCESS_KEY_ID": "night", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of the server."""
    with s3(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def s3_store(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[Any, str]:
    """Return the store, and the name of an empty bucket."""
    for key, value in {**ACCESS, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(key, value)
    bucket = f"b{abs(hash(request.node.name))}"
    files = s3_files._store()
    files.call_s3("create_bucket", Bucket=bucket)
    return files, bucket
