"""Lines in the logs of runners, as tests add and read them."""

from __future__ import annotations

from typing import Any

import httpx

from fal_server.logs.log_lines import LogLine

#: When the first of the lines is printed, in seconds since the epoch.
BASE = 1_700_000_000.0


def make_lines(*messages: str, account: str, runner_id: str, **fields: Any) -> list[LogLine]:
    """Return lines of a runner, each printed a second after the one before."""
    line = {"account_id": account, "application": "app", "runner_id": runner_id}
    return [
        LogLine(**{"message": message, "time": BASE + number, **line, **fields})
        for number, message in enumerate(messages)
    ]


def history(client: httpx.Client, **query: Any) -> Any:
    """Return a page of lines, the newest first."""
    answer = client.post("/logs/history", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()
