"""
Contexts: the trace that a request is in, for the runner that answers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

#: The headers that a request to a runner gets in place of its own. Empty where no span is made.
trace_headers: ContextVar[Mapping[str, str]] = ContextVar("trace_headers")
