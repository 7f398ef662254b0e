"""Airflow's REST API, as a client of it sees it: log in, call, and know an answer from none.

The standard library is enough for a handful of calls, and nothing else would have to be kept up to date for them.
"""

import http.client
import json
import re
import urllib.error
import urllib.request
from typing import Any

from pipelines.lib.core.errors import ConfigError, TransientError

LATER = (408, 425, 429)
"""Statuses that ask for patience, next to those from 500 up."""
_LONGEST_ANSWER = 1 << 20  # bytes; what answers more is not Airflow
_LONGEST_DETAIL = 500


class Api:
    """Airflow's REST API at `url`, as `user`. Redirects are not followed: a password goes where it was sent, and a POST stays one."""

    def __init__(self, url: str, user: str, password: str, timeout_s: float) -> None:
        if not re.fullmatch(r"https?://[^\s@]+", url) or not user or not password:
            raise ConfigError(
                f"NIGHTSHIFT_API_URL is {url!r}, NIGHTSHIFT_API_USER {user!r}, the password is {'set' if password else 'missing'}; "
                "set all three, in Airflow with the connection nightshift_api"
            )
        self.url, self.user, self.timeout_s = url.rstrip("/"), user, timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._token: str | None = None
        status, answer = self.call("POST", "/auth/token", {"username": user, "password": password})
        self._token = str(answer["access_token"]) if status in (200, 201) and "access_token" in answer else None
        if self._token is None:
            raise _refusal(status, f"{self.url} does not let {user!r} in: {status} {detail(answer)}; correct user, password or URL")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object (empty for anything else) with which `path` was answered. Raises `TransientError` if it
        was not.
        """
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)  # noqa: S310  the scheme was checked
        try:
            with self._open(request) as response:
                status, raw = int(response.status), response.read(_LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{method} {self.url}{path} was not answered ({type(error).__name__}: {error}); try again") from None
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = {}
        return status, answer if isinstance(answer, dict) else {}

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as answer:  # an answer like any other
            return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def detail(answer: dict[str, Any]) -> str:
    """Return what Airflow says of an error, in short."""
    return str(answer.get("detail", "without a reason"))[:_LONGEST_DETAIL]


def _refusal(status: int, message: str) -> Exception:
    return TransientError(message) if status >= 500 or status in LATER else ConfigError(message)
