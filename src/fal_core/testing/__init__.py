"""
The conformance suite: what every host keeps, as tests that ship with fal-core.

A host's whole test file imports :mod:`fal_core.testing.suite` and writes one
fixture::

    from fal_core.testing.suite import *


    @pytest.fixture(scope="session")
    def host():
        return SlurmHost("slurm://login1")

The laws that run are those which the host's capabilities call for. Whoever tests a
kind of environment runs functions in it with :class:`ProcessHost`.
"""

from fal_core.testing.harness.recorders import Recorder
from fal_core.testing.hosts.in_process import InProcessHost
from fal_core.testing.hosts.process_per_call import ProcessHost
from fal_core.testing.hosts.watched import WatchedHost

__all__ = ["InProcessHost", "ProcessHost", "Recorder", "WatchedHost"]
