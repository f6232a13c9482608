"""
Nodes: other machines, on which environments are built and workers are started.

The author of a host that can run a Python on another machine uses a :class:`RemoteNode`. One
that starts agents by other means, as in the actors of a cluster, uses its parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.nodes.agent_addresses import AgentAddress as AgentAddress
    from fal_core.nodes.greetings import read_greeting as read_greeting
    from fal_core.nodes.local_sockets import CONNECTIONS as CONNECTIONS
    from fal_core.nodes.local_sockets import make_name as make_name
    from fal_core.nodes.node_code import pack_code as pack_code
    from fal_core.nodes.node_relays import Relays as Relays
    from fal_core.nodes.node_workers import NodeWorker as NodeWorker
    from fal_core.nodes.node_workers import agent_request as agent_request
    from fal_core.nodes.remote_nodes import AGENT as AGENT
    from fal_core.nodes.remote_nodes import RemoteNode as RemoteNode
    from fal_core.nodes.remote_nodes import node_arguments as node_arguments
    from fal_core.nodes.remote_nodes import node_facts as node_facts
    from fal_core.nodes.splices import lead_to_port as lead_to_port
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.nodes.agent_addresses": "AgentAddress",
            "fal_core.nodes.greetings": "read_greeting",
            "fal_core.nodes.local_sockets": "CONNECTIONS make_name",
            "fal_core.nodes.node_code": "pack_code",
            "fal_core.nodes.node_relays": "Relays",
            "fal_core.nodes.node_workers": "NodeWorker agent_request",
            "fal_core.nodes.remote_nodes": "AGENT RemoteNode node_arguments node_facts",
            "fal_core.nodes.splices": "lead_to_port",
        },
    )
