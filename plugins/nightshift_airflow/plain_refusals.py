"""Say in one sentence why Airflow refuses a parameter of a run. Airflow prints the whole JSON schema after it, in the trigger form too.

A middleware of the API server, since Airflow 3.3 checks parameters before anything of a DAG or of a listener is asked.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TRIGGER = re.compile(r".*/api/v2/dags/[^/]+/dagRuns")
_SCHEMA = re.compile(r"\n+Failed validating .*", re.DOTALL)


class PlainRefusals:
    """An ASGI application around `app`: hands everything on, and shortens the answer to a trigger that was refused with 400."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _TRIGGER.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        refused: list[Message] = []
        content = b""

        async def shorten(message: Message) -> None:
            nonlocal content
            if message["type"] == "http.response.start" and message["status"] == 400:
                refused.append(message)
            elif refused and message["type"] == "http.response.body":
                content += message.get("body", b"")
                if not message.get("more_body"):
                    short = without_schema(content)
                    headers = [(name, value) for name, value in refused[0]["headers"] if name.lower() != b"content-length"]
                    await send({**refused[0], "headers": [*headers, (b"content-length", str(len(short)).encode())]})
                    await send({**message, "body": short})
            else:
                await send(message)

        await self._app(scope, receive, shorten)


def without_schema(content: bytes) -> bytes:
    """Return `content`, an answer in JSON, with what its ``detail`` says up to the schema; anything else as it is."""
    try:
        answer = json.loads(content)
    except ValueError:  # another encoding, or no JSON
        return content
    if not isinstance(answer, dict) or not isinstance(detail := answer.get("detail"), str) or not _SCHEMA.search(detail):
        return content
    return json.dumps({**answer, "detail": _SCHEMA.sub("", detail)}).encode()
