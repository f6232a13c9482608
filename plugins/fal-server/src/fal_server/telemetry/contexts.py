"""Contexts: the trace that a request is in, for the runner that answers it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Literal, Protocol

#: The headers that a request to a runner gets in place of its own. Empty where no span is made.
trace_headers: ContextVar[Mapping[str, str]] = ContextVar("trace_headers")

#: Told the status of a response, and the id of its request.
Finish = Callable[[int, str], None]


class MakeSpan(Protocol):
    """Makes spans of requests, whose runners get them as parents."""

    def __call__(
        self,
        name: str,
        headers: Mapping[str, str],
        facts: Mapping[str, Any],
        *,
        kind: Literal["SERVER", "CONSUMER"] = "SERVER",
    ) -> AbstractContextManager[Finish]:
        """
        Give what finishes a span, which begins with the context.

        Arguments:
            headers: Those of the request, which may have the trace of its sender.
        """


@contextlib.contextmanager
def no_span(
    name: str,
    headers: Mapping[str, str],
    facts: Mapping[str, Any],
    *,
    kind: Literal["SERVER", "CONSUMER"] = "SERVER",
) -> Iterator[Finish]:
    """Make none."""
    yield _ignore


def _ignore(status: int, request_id: str) -> None:
    """Do nothing."""
