"""
Networks that a container joins: a namespace that ``pasta`` connects to this machine.

The engine makes the container, so that the command of the engine is not run in the namespace.
A process holds it instead, for as long as that command runs.

The module is also a program: run by its path, it becomes the command that it is given.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fal_core.environments import Command

#: Stands in a command for the path of the namespace.
NAMESPACE = "{network namespace}"

#: Without it, an address inside would lead to all ports of the loopback address of the machine.
_PASTA = ("--no-map-gw",)


def make_network(command: Command, reached: Sequence[int]) -> Command:
    """
    Return the command that makes a network namespace and runs *command*, in which its path
    stands in place of `NAMESPACE`.

    Arguments:
        reached: Ports of the loopback address of this machine that are reached inside.
    """
    import attrs

    from fal_core_worker.serving import networks

    pasta = shutil.which("pasta") or "pasta"
    ports = ",".join(map(str, reached))
    enter = (sys.executable, "-I", "-S", __file__, networks.__file__, pasta, ports)
    return attrs.evolve(command, argv=(*enter, *command.argv))


def main() -> None:
    """
    Become the command ``sys.argv[4:]``.

    The arguments before it are those of :func:`make_network`.
    """
    networks_file, pasta, reached, *argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(networks_file))
    ready, tell = os.pipe()
    parent = os.getpid()
    holder = os.fork()
    if not holder:
        os.close(ready)
        _hold(pasta, parent, reached, tell)
    os.close(tell)
    if not os.read(ready, 1):
        sys.exit("A network namespace cannot be made for the container.")
    os.close(ready)
    path = f"/proc/{holder}/ns/net"
    argv = [word.replace(NAMESPACE, path) for word in argv]
    os.execvp(argv[0], argv)


def _hold(pasta: str, parent: int, reached: str, tell: int) -> None:
    """Make a namespace, and hold it until the parent process ends."""
    import networks  # type: ignore[import-not-found]  # found by its folder

    try:
        apart, go = os.pipe()
        own = os.getpid()
        joiner = os.fork()
        if not joiner:
            os.close(go)
            joins = os.read(apart, 1) and not networks.join(
                pasta, own, "", reached, False, _PASTA
            )
            os._exit(0 if joins else 1)
        # It ends with the parent process.
        networks.leave()
        os.write(go, b"\0")
        if not os.waitpid(joiner, 0)[1] and os.getppid() == parent:
            os.write(tell, b"\0")
            # What the worker is spoken to by has to end with it.
            os.closerange(0, 1024)
            while True:
                signal.pause()
    except OSError as error:
        os.write(2, f"A network namespace cannot be made: {error.strerror}.\n".encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
