"""Facts that a service has told, and the connections that are shared to ask for them."""

from __future__ import annotations

import os
import warnings

import pytest

from fal_host_serverless.account import told_facts
from fal_host_serverless.wire import rest


@pytest.mark.parametrize("module", [told_facts, rest])
def test_a_lock_that_was_held_at_a_fork_is_free(module):
    """A forked child does not wait for a thread that it does not have."""
    with module._lock, warnings.catch_warnings():
        # Later Pythons warn that this process has threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if not pid:
            os._exit(0 if module._lock.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
