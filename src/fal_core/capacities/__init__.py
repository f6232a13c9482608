"""Capacities: what the machines of a host have, for programs that choose among hosts."""

from fal_core.capacities.nodes import Capacity, CountingHost, NodeCapacity

__all__ = ["Capacity", "CountingHost", "NodeCapacity"]
