"""The runtime of this process, for the code that runs in it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Protocol

    class Runtime(Protocol):
        """
        What the code of a call may ask of the process that runs it.

        Attributes:
            output: Has ``write(level, line, logger=None)``, which writes a line to the
                log, or a record of *logger*. In a worker it is an
                :class:`~fal_core_worker.output.capture.Output`.

            address: The interface that services listen on; None for the declared one.
                ``unix:`` and a directory stand for the Unix sockets ``run`` and
                ``metrics`` in it, in place of ports.
        """

        address: str | None

        @property
        def output(self) -> Any: ...

        def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            """
            Have the launching process call its function *number*, and return the result.

            With :data:`AT_HOME` it is the function that *args* begin with, which is given
            the one who asks before the other arguments.
            """

        def run_service(
            self,
            service: Coroutine[Any, Any, None],
            loop: asyncio.AbstractEventLoop,
            drain: Callable[[], None],
        ) -> None:
            """Run *service* in *loop* until it ends. A request to drain calls *drain* there."""

        def find_node(self) -> Any:
            """
            Return the :class:`~fal_core_worker.nodes.Node` of the call that the calling code
            belongs to; None where it has none.
            """

        def announce(self, urls: dict[str, str]) -> None:
            """Report that the service which runs here answers at *urls*."""


#: The number that stands for a function of a library, which the caller and the worker both
#: have: a call home of that number names it in its first argument.
AT_HOME = 0

#: The runtime of this process. None where no host runs calls.
runtime: Runtime | None = None
