"""Policies of calls: timeouts and retries."""

from __future__ import annotations

import pytest

from fal_core import function
from fal_core.declaring.policy_checks import check_policy
from fal_core.errors import OptionError
from fal_testing import InProcessHost


def test_a_long_timeout_is_waited_for_in_turns() -> None:
    """A timeout longer than the longest wait of the system works."""
    add = function("current", host=InProcessHost(), timeout=20 * 365 * 86400)(lambda x: x + 1)
    assert add(1) == add.submit(1).result(30) == 2
    assert list(add.map([1])) == [2]


def test_an_exception_alone_is_one_to_retry_on() -> None:
    """``retry_on`` takes exceptions, or one alone; anything else is refused."""
    assert check_policy({"retry_on": OSError}).retry_on == (OSError,)
    assert check_policy({"retry_on": [OSError, KeyError]}).retry_on == (OSError, KeyError)
    for wrong in (3, "OSError", [OSError()], [int]):
        with pytest.raises(OptionError, match="'retry_on' must be exceptions"):
            check_policy({"retry_on": wrong})
