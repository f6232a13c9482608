"""
Nodes: other machines, on which environments are built and workers are started.

The author of a host that can run a Python on another machine uses a :class:`RemoteNode`. One
that starts agents by other means, as in the actors of a cluster, uses its parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.nodes.agent_addresses import AgentAddress
    from fal_core.nodes.greetings import read_greeting
    from fal_core.nodes.local_sockets import CONNECTIONS, make_name
    from fal_core.nodes.node_code import pack_code
    from fal_core.nodes.node_relays import Relays
    from fal_core.nodes.node_workers import NodeWorker, agent_request
    from fal_core.nodes.remote_nodes import AGENT, RemoteNode, node_arguments, node_facts
    from fal_core.nodes.splices import lead_to_port

__all__ = [
    "AGENT",
    "CONNECTIONS",
    "AgentAddress",
    "NodeWorker",
    "Relays",
    "RemoteNode",
    "agent_request",
    "lead_to_port",
    "make_name",
    "node_arguments",
    "node_facts",
    "pack_code",
    "read_greeting",
]

_exports = lazily(
    __name__,
    {
        "AGENT": "fal_core.nodes.remote_nodes",
        "AgentAddress": "fal_core.nodes.agent_addresses",
        "CONNECTIONS": "fal_core.nodes.local_sockets",
        "NodeWorker": "fal_core.nodes.node_workers",
        "Relays": "fal_core.nodes.node_relays",
        "RemoteNode": "fal_core.nodes.remote_nodes",
        "agent_request": "fal_core.nodes.node_workers",
        "lead_to_port": "fal_core.nodes.splices",
        "make_name": "fal_core.nodes.local_sockets",
        "node_arguments": "fal_core.nodes.remote_nodes",
        "node_facts": "fal_core.nodes.remote_nodes",
        "pack_code": "fal_core.nodes.node_code",
        "read_greeting": "fal_core.nodes.greetings",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
