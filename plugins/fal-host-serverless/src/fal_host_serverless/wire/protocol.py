"""
gRPC and the messages of the service, loaded so that gRPC writes no lines but errors.

That is what it documents as its default, but its library in C++ also writes a line for each
handshake that fails, unless ``GRPC_VERBOSITY`` is set while it is loaded. If it is set
already, it stays as it is.
"""

from __future__ import annotations

import os

_VARIABLE = "GRPC_VERBOSITY"

_is_ours = _VARIABLE not in os.environ
if _is_ours:
    os.environ[_VARIABLE] = "ERROR"
try:
    import grpc
    import grpc.aio
    import isolate_proto
    from isolate_proto.configuration import GRPC_OPTIONS
    from isolate_proto.controller_pb2_grpc import IsolateControllerStub
finally:
    # Processes that are started later have the environment of this one.
    if _is_ours:
        del os.environ[_VARIABLE]

__all__ = ["GRPC_OPTIONS", "IsolateControllerStub", "grpc", "isolate_proto"]
