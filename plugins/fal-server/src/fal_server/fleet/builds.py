"""
Builds: the environments of users, and the one that the agents need beside them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from fal_core.environments import Environment, LocalInterpreter
from fal_core.events import Log, LogSink
from fal_core.plugins import find_environment

#: The packages that an agent needs beside those of the user: what opens the pickles of
#: released clients, and what those pickles import.
_AGENT_REQUIREMENTS = (
    "cloudpickle>=3.1",
    "dill>=0.3.7",
    "grpcio>=1.64",
    "isolate>=0.26",
    "isolate-proto>=0.34.2",
    "tblib>=3.1",
)


#: How many keys are asked for at once.
_KEYS_AT_ONCE = 4


class EnvironmentBuilds:
    """
    Builds environments in threads, and knows which ones this process has built.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._key_threads = ThreadPoolExecutor(_KEYS_AT_ONCE, "environment-key")
        self._built: set[str] = set()
        self._lock = threading.Lock()
        self._agent_paths: dict[str, tuple[str, ...]] = {}

    async def build(
        self, environment: Environment, *, again: bool = False
    ) -> AsyncGenerator[Log, None]:
        """
        Build *environment* and that of the agent, and yield what the builder prints.

        The build is cancelled when the generator is closed.

        Arguments:
            again: Also where this process has built it before: it may be gone by now. One
                that is declared with ``force`` is built in any case.

        Raises:
            FalCoreError: The environment cannot be built.
        """
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[Log | None] = asyncio.Queue()
        cancelled = threading.Event()

        def log(line: Log) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        def build() -> None:
            whole = self.with_agent(environment)
            if again or getattr(environment, "force", False):
                self._build(whole, log, cancelled)
            else:
                self.ensure(whole, log, cancelled)
            self.agent_paths(environment)

        def built(building: asyncio.Future[None]) -> None:
            # Whoever has closed the generator does not ask for the error.
            _ = building.cancelled() or building.exception()
            lines.put_nowait(None)

        building = loop.run_in_executor(self._threads, build)
        building.add_done_callback(built)
        try:
            while (line := await lines.get()) is not None:
                yield line
            await building
        finally:
            cancelled.set()

    async def key_of(self, environment: Environment) -> str:
        """
        Return the key of *environment*, for which an engine may have to be asked. One that
        does not answer keeps nobody waiting who asks for something else.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._key_threads, lambda: environment.key)

    def close(self) -> None:
        """
        Ask for no more keys.
        """
        self._key_threads.shutdown(wait=False, cancel_futures=True)

    def ensure(
        self, environment: Environment, log: LogSink, cancelled: threading.Event
    ) -> None:
        """
        Build *environment* in this thread, unless this process has built it before.

        Its host builds it again where it is gone by now.

        Raises:
            FalCoreError: It cannot be built.
        """
        if environment.key not in self._built:
            self._build(environment, log, cancelled)

    def with_agent(self, environment: Environment) -> Environment:
        """
        Return *environment* as a runner has it: with the packages of the agent, unless these
        can lie beside it, see :meth:`agent_paths`.
        """
        return (
            environment
            if _lies_beside(environment)
            else environment.extend(_AGENT_REQUIREMENTS)
        )

    def agent_paths(self, environment: Environment) -> tuple[str, ...]:
        """
        Return where the packages of the agent lie, for the Python of *environment*. Nowhere
        where the environment itself has them.
        """
        if not _lies_beside(environment):
            return ()
        version = getattr(environment, "python_version", None) or ""
        with self._lock:
            if version not in self._agent_paths:
                cls = find_environment("virtualenv")
                own = cls(  # type: ignore[call-arg]  # an option of this kind
                    requirements=_AGENT_REQUIREMENTS, python_version=version or None
                )
                found = own.build(lambda log: None, threading.Event())
                assert isinstance(found, LocalInterpreter)
                self._agent_paths[version] = (site_packages(found.executable),)
            return self._agent_paths[version]

    def _build(
        self, environment: Environment, log: LogSink, cancelled: threading.Event
    ) -> None:
        environment.build(log, cancelled)
        self._built.add(environment.key)


def _lies_beside(environment: Environment) -> bool:
    """
    Return whether a virtual environment of this machine fits the Python of *environment*.
    """
    return environment.kind in ("virtualenv", "current")


def site_packages(executable: str) -> str:
    """
    Return the directory of the packages in the virtual environment of *executable*.
    """
    root = Path(os.path.abspath(executable)).parent.parent
    (found,) = root.glob("lib/python3*/site-packages")
    return str(found)
