"""Functions are opened in the form that is for this Python."""

from __future__ import annotations

import re

import pytest

from fal_core_worker.opening.functions import open_function
from fal_core_worker.opening.seals import SealingError


def test_function_without_a_form_is_refused_with_the_reason() -> None:
    """A call that brings its function in no form at all says so, and why if the caller did."""
    reason = "It cannot be written as source: its file is gone."
    with pytest.raises(SealingError, match=f"no function to open.*{re.escape(reason)}"):
        open_function(None, None, reason)
    with pytest.raises(SealingError, match=r"no function to open\.$"):
        open_function(None, None)
