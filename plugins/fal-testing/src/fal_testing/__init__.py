"""
The conformance suite: the laws that every host keeps, as tests.

A host's whole test file imports :mod:`fal_testing.suite` and writes one
fixture::

    from fal_testing.suite import *


    @pytest.fixture(scope="session")
    def host():
        return SlurmHost("slurm://login1")

Which laws run depends on the capabilities of the host. Tests of a kind of environment run
functions in it with :class:`ProcessHost`, and any test under :func:`other_python`.
"""

from fal_testing.harness.recorders import Recorder
from fal_testing.hosts.in_process import InProcessHost
from fal_testing.hosts.process_per_call import ProcessHost
from fal_testing.hosts.watched import WatchedHost
from fal_testing.pythons import other_python

__all__ = ["InProcessHost", "ProcessHost", "Recorder", "WatchedHost", "other_python"]
