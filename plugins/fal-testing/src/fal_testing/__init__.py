"""
The conformance suite: the laws that every host keeps, as tests that ship with fal-core.

A host's whole test file imports :mod:`fal_core.testing.suite` and writes one
fixture::

    from fal_core.testing.suite import *


    @pytest.fixture(scope="session")
    def host():
        return SlurmHost("slurm://login1")

Which laws run depends on the capabilities of the host. Tests of a kind of environment run
functions in it with :class:`ProcessHost`, and any test under :func:`other_python`.
"""

from fal_core.testing.harness.recorders import Recorder
from fal_core.testing.hosts.in_process import InProcessHost
from fal_core.testing.hosts.process_per_call import ProcessHost
from fal_core.testing.hosts.watched import WatchedHost
from fal_core.testing.pythons import other_python

__all__ = ["InProcessHost", "ProcessHost", "Recorder", "WatchedHost", "other_python"]
