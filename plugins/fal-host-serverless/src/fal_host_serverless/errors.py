"""
Errors of the serverless host and its client.

.. code-block:: text

    OptionError
    └── WrongArgument
    FalServerlessError
    ├── ResourceNotFound
    └── ServerlessRunFailed            also a HostError
    InternalFalServerlessError
    └── InternalServerlessRunFailed    also a HostError
"""

from __future__ import annotations

from fal_core.errors import (
    FalServerlessError,
    HostError,
    InternalFalServerlessError,
    OptionError,
)
from fal_core.facts import facts


class WrongArgument(OptionError):
    """An argument of a call is wrong. The command line reports it as a usage error."""


@facts
class ResourceNotFound(FalServerlessError):
    """The REST service answered 404; *message* says for which path."""


@facts
class ServerlessRunFailed(FalServerlessError, HostError):
    """The service did not run the call; *message* says why."""


@facts
class InternalServerlessRunFailed(InternalFalServerlessError, HostError):
    """The service failed while it ran the call; *message* says how."""
