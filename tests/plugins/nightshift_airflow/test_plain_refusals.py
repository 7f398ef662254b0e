"""A parameter that Airflow refuses: one sentence, not a schema; every other answer as it was."""

import asyncio
import json
from typing import Any

import pytest
from airflow.serialization.definitions.param import ParamValidationError, SerializedParam, SerializedParamsDict
from nightshift_airflow.partitions import run_params
from nightshift_airflow.plain_refusals import PlainRefusals, without_schema
from nightshift_airflow.plugin import NightshiftPlugin

PATH = "/airflow/api/v2/dags/nightly_batch_scoring__fraud/dagRuns"


def refusal(partition: object) -> str:
    """Return what Airflow itself says of a parameter of ours."""
    declared = run_params(200)["partition"]
    with pytest.raises(ParamValidationError) as caught:
        SerializedParamsDict({"partition": SerializedParam(partition, **declared.schema)}).validate()
    return str(caught.value)


def answer(status: int, body: bytes, *, path: str = PATH, method: str = "POST") -> tuple[dict[str, Any], bytes]:
    """Return what a client gets of an answer that the application sends in two parts."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        await send({"type": "http.response.body", "body": body[10:]})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(PlainRefusals(app)({"type": "http", "method": method, "path": path}, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == status
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize("partition", ["2013-02-30", "tomorrow", 20130401])
def test_a_refused_parameter_is_said_in_one_sentence(partition: object) -> None:
    said = refusal(partition)
    assert "schema" in said
    headers, body = answer(400, json.dumps({"detail": said}).encode())
    short = json.loads(body)["detail"]
    assert short.startswith(f"Invalid input for param partition: {partition!r} ")
    assert "\n" not in short
    assert "schema" not in short
    assert int(headers[b"content-length"]) == len(body)


@pytest.mark.parametrize(
    ("status", "path", "method"), [(400, "/api/v2/dags/other", "POST"), (422, PATH, "POST"), (200, PATH, "POST"), (400, PATH, "GET")]
)
def test_other_answers_are_handed_on(status: int, path: str, method: str) -> None:
    body = json.dumps({"detail": refusal("tomorrow")}).encode()
    assert answer(status, body, path=path, method=method)[1] == body


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b\x08", b"[]", b'{"detail": [1]}', b'{"detail": "a run with this id exists"}'])
def test_an_answer_without_a_schema_stays_as_it_is(body: bytes) -> None:
    assert without_schema(body) == body


def test_airflow_loads_it() -> None:
    assert [one["middleware"] for one in NightshiftPlugin.fastapi_root_middlewares] == [PlainRefusals]
