"""
Launching: from what a runner is to run to a runner on a host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fal_core.abilities import detaching
from fal_core.calls import Call
from fal_core.environments import Environment, LocalInterpreter
from fal_core.errors import FalCoreError
from fal_core.events import Exited, Log, Sealed
from fal_core.hosts import Host
from fal_core.options import Gateway, Lifetime
from fal_core.plugins.installed import find_environment, make_host
from fal_server.errors import STATE_TROUBLE, Refusal
from fal_server.exchanges import Exchanges
from fal_server.logs import LogLine, Logs
from fal_server.memory import memory_of
from fal_server.runners import Runner
from fal_server.specs import RunnerSpec
from fal_server_agent.limits import drop_groups

#: The environment that an agent needs beside the user's: what opens the pickles of
#: released clients, and what those pickles import.
_AGENT_REQUIREMENTS = (
    "cloudpickle>=3.1",
    "dill>=0.3.7",
    "grpcio>=1.64",
    "isolate>=0.26",
    "isolate-proto>=0.34.2",
    "tblib>=3.1",
)

#: Launches that may be prepared at once, building included.
_AT_ONCE = 16


class Launchpad:
    """
    Launches runners on one host, and finds them again.

    Arguments:
        machine: The host: its name or its URL.

        sizes: How much memory runners of a machine type may use, in bytes.

        observe_start: Called with the seconds that a runner took to start.
    """

    def __init__(
        self,
        machine: str,
        logs: Logs,
        sizes: Mapping[str, int],
        observe_start: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.host: Host[Any, Any] = make_host(machine)
        self.logs = logs
        self._sizes = sizes
        self._observe_start = observe_start
        self._threads = ThreadPoolExecutor(_AT_ONCE, "launch")
        self._tasks: set[asyncio.Future[None]] = set()
        self._lock = threading.Lock()
        self._paths: dict[str, tuple[str, ...]] = {}
        #: The requests that runners are sent.
        self.exchanges = Exchanges()
        #: Who is told of lines at once, see :class:`Runner`.
        self.echoes: dict[str, Callable[[LogLine], None]] = {}

    async def close(self) -> None:
        """
        End the runners that end with this process, and let go of the others.
        """
        await self.exchanges.aclose()
        await asyncio.get_running_loop().run_in_executor(None, self.host.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def launch(
        self,
        spec: RunnerSpec,
        changed: Callable[[Runner], None],
        *,
        lifetime: Lifetime = "attached",
        starting_request: str = "",
        before: Callable[[Runner], Awaitable[None]] | None = None,
    ) -> Runner:
        """
        Start a runner, and return it at once.

        Arguments:
            changed: Called with the runner whenever its phase is another.

            lifetime: ``detached`` for a runner that outlives this process, where the
                host has such.

            starting_request: What its lines belong to until it has requests.

            before: What is done first. A runner that outlives this process is written
                down before there is one.
        """
        if lifetime == "detached" and not self.host.capabilities.detach:
            lifetime = "attached"
        observed = self._observing(changed)
        runner = self._make_runner(secrets.token_hex(8), spec, secrets.token_hex(16), observed)
        runner.lines.starting_request = starting_request
        task = asyncio.ensure_future(self._launch_after(runner, lifetime, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return runner

    def _observing(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        observed = False

        def observe(runner: Runner) -> None:
            nonlocal observed
            if runner.phase == "running" and not observed:
                observed = True
                self._observe_start(runner.uptime)
            changed(runner)

        return observe

    async def _launch_after(
        self,
        runner: Runner,
        lifetime: Lifetime,
        before: Callable[[Runner], Awaitable[None]] | None,
    ) -> None:
        if before is not None:
            try:
                await before(runner)
            except Refusal as refusal:
                runner.blocked = isinstance(refusal, STATE_TROUBLE)
                self._refuse(runner, str(refusal))
                return
        await runner.loop.run_in_executor(self._threads, self._launch, runner, lifetime)

    def attach(
        self,
        id: str,
        spec: RunnerSpec,
        token: str,
        reference: str,
        started_at: float,
        changed: Callable[[Runner], None],
        *,
        known_until: float = 0.0,
    ) -> Runner:
        """
        Find a detached runner again.

        Arguments:
            known_until: When the last of its lines was printed that is kept.

        Raises:
            FalCoreError: It is gone.
        """
        runner = self._make_runner(id, spec, token, changed)
        runner.was_started_at(started_at)
        # Where it serves is told again.
        runner.lines.known_until = known_until
        runner.execution = detaching(self.host).attach(reference, runner.take, 0)
        return runner

    async def build(
        self, environment: Environment, log: Callable[[Log], None], cancelled: threading.Event
    ) -> None:
        """
        Build *environment*, and that of the agent.

        Raises:
            FalCoreError: It cannot be built.
        """
        loop = asyncio.get_running_loop()

        def tell(line: Log) -> None:
            loop.call_soon_threadsafe(log, line)

        def build() -> None:
            environment.build(tell, cancelled)
            self._agent_paths(environment)

        await loop.run_in_executor(self._threads, build)

    def _make_runner(
        self, id: str, spec: RunnerSpec, token: str, changed: Callable[[Runner], None]
    ) -> Runner:
        limited = memory_of(spec.machine_type, self._sizes) is not None

        def note(runner: Runner) -> None:
            if limited and not runner.is_alive:
                # Where it ran on this machine, the group of its memory is left.
                with contextlib.suppress(RuntimeError):
                    self._threads.submit(drop_groups)
            changed(runner)

        return Runner(
            id=id,
            spec=spec,
            token=token,
            logs=self.logs,
            loop=asyncio.get_running_loop(),
            exchanges=self.exchanges,
            changed=note,
            echoes=self.echoes,
        )

    # -- in a thread -----------------------------------------------------------------

    def _launch(self, runner: Runner, lifetime: Lifetime) -> None:
        try:
            call = self._make_call(runner, lifetime)
            execution = self.host.launch(call, runner.take)
        except FalCoreError as error:
            runner.cause = error
            self._refuse(runner, str(error))
        except Exception as error:
            self._refuse(runner, f"{type(error).__name__}: {error}")
        else:
            runner.execution = execution
            runner.loop.call_soon_threadsafe(runner.launched)

    def _refuse(self, runner: Runner, sentence: str) -> None:
        runner.reason = sentence
        runner.take(Exited())

    def _make_call(self, runner: Runner, lifetime: Lifetime) -> Call:
        from fal_core.sealing.functions import seal_function
        from fal_server_agent.agents import Agent

        spec = runner.spec
        # It tells of what cannot be built before anything is started.
        spec.environment.build(runner.take, threading.Event())
        reference = f"runner-{runner.id}"
        memory = memory_of(spec.machine_type, self._sizes)
        paths = self._agent_paths(spec.environment)
        agent = Agent(runner.token, paths, memory=memory, name=reference)
        # Clients choose the Python, which need not be that of this process.
        seal = seal_function(agent, local_python_modules=agent.packages, portable=True)
        return Call(
            id=reference,
            name=spec.name,
            function=seal.sealed,
            arguments=Sealed(b""),
            environment=spec.environment,
            host_options=self.host.options(
                termination_grace_period_seconds=spec.grace,
                startup_timeout=spec.startup_timeout,
                machine_type=spec.machine_type or None,
            ),
            gateway=Gateway(serve=True),
            sources=seal.sources,
            application_name=spec.name,
            lifetime=lifetime,
        )

    def _agent_paths(self, environment: Environment) -> tuple[str, ...]:
        """
        Return where the agent's packages lie for the Python of *environment*.
        """
        version = getattr(environment, "python_version", None) or ""
        with self._lock:
            if version not in self._paths:
                cls = find_environment("virtualenv")
                own = cls(  # type: ignore[call-arg]  # an option of this kind
                    requirements=_AGENT_REQUIREMENTS, python_version=version or None
                )
                found = own.build(lambda log: None, threading.Event())
                assert isinstance(found, LocalInterpreter)
                self._paths[version] = (site_packages(found.executable),)
            return self._paths[version]


def site_packages(executable: str) -> str:
    """
    Return where the packages of the virtual environment of *executable* lie.
    """
    root = Path(os.path.abspath(executable)).parent.parent
    (found,) = root.glob("lib/python3*/site-packages")
    return str(found)
