"""
Workflows: graphs of applications, which a runner runs as one application.

For an agent the package is a module of serializers like `cloudpickle`: what it loads is a
graph in JSON, as a function that serves it.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from fal_server_agent.workflows.graphs import Graph
from fal_server_agent.workflows.serving import serve


def loads(definition: bytes) -> Callable[..., None]:
    """Return the function that serves the workflow *definition*."""
    graph = Graph.read(json.loads(definition))

    def serve_workflow(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        serve(graph, exposed_port)

    return serve_workflow


def dumps(value: object) -> bytes:
    """Serialize what a server of a workflow has returned, which is nothing."""
    return json.dumps(value, default=str).encode()
