"""
Nodes: the places of a call that runs on several machines at once.

Each node runs the function with the same arguments, in a worker of its own, and knows which of
them it is and where the others are. A worker imports this for such calls alone.
"""

from __future__ import annotations

import marshal
from typing import Any, NamedTuple

from fal_core_worker import current
from fal_core_worker.stream.frames import UnreadableFrame


class Node(NamedTuple):
    """
    One of the nodes on which a call runs.

    Attributes:
        rank: Its number, from 0 on; the result of the call is that of node 0.

        addresses: Where each node is reached from the others, by rank: host names or IP
            addresses, without ports.
    """

    rank: int
    addresses: tuple[str, ...]


#: The node of a function that runs on one node alone, or in no host.
ALONE = Node(0, ("127.0.0.1",))

#: In a process that a function has forked: the node of that function, or why it is not known.
inherited: Node | RuntimeError | None = None


def current_node() -> Node:
    """
    Return the node that the running function is on.

    Without ``nodes=``, and outside of any host, it is node 0 of 1. A process that the function
    starts, but does not fork, knows nothing of the group: pass what it needs as an argument.

    Raises:
        RuntimeError: Several calls run in this worker, and nobody knows which of them has
            started the thread that asks.
    """
    runtime = current.runtime
    node: Any = inherited if runtime is None else runtime.find_node()
    if isinstance(node, RuntimeError):
        raise node
    return node or ALONE


def add_note(error: BaseException, node: Node) -> None:
    """Note at *error*, which the function has raised on *node*, where that was."""
    rank, addresses = node
    text = f"It was raised on node {rank} of {len(addresses)}, at {addresses[rank]}."
    try:
        # Python 3.10 has no method for it.
        error.__dict__.setdefault("__notes__", []).append(text)
    except Exception:
        # Without a dictionary, or with something else in place of the notes.
        pass


def pack_node(node: Node) -> bytes:
    """Return the payload of a NODE frame."""
    return marshal.dumps((node.rank, tuple(node.addresses)), 2)


def unpack_node(payload: Any) -> Node:
    """
    Return the node that a NODE frame tells of.

    Raises:
        UnreadableFrame: It tells of none.
    """
    try:
        rank, addresses = marshal.loads(payload)
    except (EOFError, TypeError, ValueError) as error:
        raise UnreadableFrame(f"a node cannot be read: {error}") from None
    known = type(addresses) is tuple and all(type(each) is str for each in addresses)
    if not known or type(rank) is not int or not 0 <= rank < len(addresses):
        raise UnreadableFrame("a node has an impossible rank or addresses")
    return Node(rank, addresses)
