"""Launching: start runners on a host, and find them again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fal_core.abilities import LimitedSink, detaching
from fal_core.calls import Call
from fal_core.claims import Claim
from fal_core.errors import FalCoreError, HostError
from fal_core.events import Exited, Sealed
from fal_core.options import Gateway, Lifetime
from fal_core.plugins import make_host
from fal_core.sinks import check_execution
from fal_server.activity.runner_announcements import tell_of
from fal_server.errors import STATE_TROUBLE, Refusal
from fal_server.fleet.builds import EnvironmentBuilds
from fal_server.fleet.endings import telling_of_memory
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.payloads import RunnerFolders
from fal_server.fleet.placing.host_pools import FleetHost, HostPool
from fal_server.fleet.runners import Runner
from fal_server.fleet.scheduling import NotWanted
from fal_server.limits import Limits
from fal_server.logs.log_lines import LogLine
from fal_server.logs.logs import Logs
from fal_server.specs.kinds import check_kind
from fal_server.specs.offers import Offers
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.state.file_stores import translated
from fal_server.state.tasks import Tasks
from fal_server_agent.limits import drop_groups
from fal_server_agent.networks.sockets import find_network

#: The largest event of a host that is read, in bytes: all but lines are small.
_LARGEST_EVENT = 64 << 20

#: The most launches at once.
_AT_ONCE = 16


class RunnerLauncher:
    """
    Launches runners on the hosts of a server, and finds them again.

    Arguments:
        machines: The names or the URLs of the hosts, each counted once.

        make_sockets, sizes, enforces: As :class:`HostPool` takes them.

        observe_start: Called with the seconds that a runner took to start.

        owner: The server, as the host names it to people who list its work.

        allows_open: Whether local users may reach applications that are not public.

        kinds: The kinds of environments that are run. Empty for all that are installed.

        folders: Makes what runners see of this machine. None where they see all of it.

        prepare: Awaited with a spec before its environment is built, to put files in place.

        limits: What is taken of agents and of accounts. None for the defaults.

    Attributes:
        offers: What is run of what requests ask for.

        hosts: The hosts.
    """

    def __init__(
        self,
        machines: Sequence[str],
        logs: Logs,
        sizes: Mapping[str, int],
        make_sockets: Callable[[], Path],
        observe_start: Callable[[float], None] = lambda _: None,
        *,
        owner: str = "",
        allows_open: bool = False,
        kinds: Collection[str] = (),
        folders: RunnerFolders | None = None,
        prepare: Callable[[RunnerSpec], Awaitable[None]] | None = None,
        limits: Limits | None = None,
        enforces: bool = False,
    ) -> None:
        limits = limits or Limits()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "launch")
        self.hosts = HostPool(
            {name: make_host(name) for name in machines},
            make_sockets,
            self._threads,
            allows_open=allows_open,
            enforces=enforces,
            sizes=sizes,
        )
        self.logs = logs
        self.offers = Offers(kinds=kinds, machine_types=sizes)
        self._observe_start = observe_start
        self._owner = owner
        self._folders = folders
        self._prepare = prepare
        self._largest_result = limits.largest_result
        #: What runs in the background for the runners.
        self.tasks = Tasks()
        #: Builds the environments of runners.
        self.builds = EnvironmentBuilds(limits.most_builds)
        #: Sends requests to the runners.
        self.http = HttpClient()
        #: Callbacks for log lines, see :class:`Runner`.
        self.echoes: dict[str, Callable[[LogLine], None]] = {}

    async def close(self) -> None:
        """
        End the attached runners, and leave the detached ones running. Launches that have not
        begun are dropped: the next server finds no such runner.
        """
        await self.tasks.close()
        await self.http.aclose()
        await self.hosts.close()
        self.builds.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def launch(
        self,
        spec: RunnerSpec,
        changed: Callable[[Runner], None],
        *,
        lifetime: Lifetime = "attached",
        serves: bool = False,
        starting_request: str = "",
        before: Callable[[Runner], Awaitable[None]] | None = None,
        must_fit: bool = False,
    ) -> Runner:
        """
        Start a runner, once it has the devices that it asks for, and return it at once.

        Arguments:
            changed: Called with the runner whenever its state has changed.

            lifetime: ``detached`` for a runner that outlives this process, if the host
                supports that.

            serves: Whether it serves an application. Functions open no ports.

            starting_request: The request that its lines belong to until it has requests.

            before: Awaited before the launch, to record a runner that may outlive this
                process.

            must_fit: Whether it is given up where this machine has no such devices.
        """
        observed = self._observing(changed)
        runner = self._make_runner(secrets.token_hex(8), spec, secrets.token_hex(16), observed)
        runner.lines.starting_request = starting_request
        launch = functools.partial(self._launch_after, runner, lifetime, serves, before)
        self.tasks.spawn(self._schedule(runner, launch, must_fit=must_fit))
        return runner

    async def _schedule(
        self,
        runner: Runner,
        launch: Callable[[FleetHost, Claim | None], Awaitable[None]],
        *,
        must_fit: bool,
    ) -> None:
        with self._refusing(runner):
            if self._prepare is not None:
                await self._prepare(runner.spec)
            # No thread of launches and no device is held while an environment is built.
            # The server may run other kinds than when it was deployed.
            check_kind(runner.spec.environment.kind, self.offers.kinds)
            try:
                host = await self.hosts.place(runner, must_fit=must_fit)
                if not host.way.is_elsewhere:
                    spec = runner.spec
                    await self.builds.prepare(spec.environment, spec.owner, runner.take)
                claim = await host.scheduler.claim(runner, must_fit=must_fit)
            except NotWanted:
                runner.take(Exited())
            else:
                await launch(host, claim)

    def _observing(self, changed: Callable[[Runner], None]) -> Callable[[Runner], None]:
        observed = False

        def observe(runner: Runner) -> None:
            nonlocal observed
            if runner.is_running and not observed:
                observed = True
                self._observe_start(runner.uptime)
            changed(runner)

        return observe

    async def _launch_after(
        self,
        runner: Runner,
        lifetime: Lifetime,
        serves: bool,
        before: Callable[[Runner], Awaitable[None]] | None,
        host: FleetHost,
        claim: Claim | None,
    ) -> None:
        if lifetime == "detached" and not host.host.capabilities.detach:
            lifetime = "attached"
        launch = functools.partial(self._launch, runner, host, lifetime, claim, serves=serves)
        try:
            if before is not None:
                await before(runner)
            # From here on the claim is for the thread to give up.
            launching = runner.loop.run_in_executor(self._threads, launch)
        except BaseException:
            if claim is not None:
                claim.release()
            raise
        await launching

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
        machine: str | None = None,
    ) -> Runner:
        """
        Find a detached runner again.

        Arguments:
            machine: The host that it was launched on. None for the first of this server.

            known_until: When the last of its stored lines was printed, in seconds since
                the epoch.

        Raises:
            FalCoreError: The runner is gone, or its host is not one of this server.
        """
        host = self.hosts.find(machine)
        if host is None:
            raise HostError(f"Host {machine!r} is not one of this server.")
        runner = self._make_runner(id, spec, token, changed)
        runner.was_started_at(started_at)
        # The host reports its URLs again.
        runner.lines.known_until = known_until
        host.take(runner)
        runner.execution = detaching(host.host).attach(reference, _sink_of(runner), 0)
        return runner

    def _make_runner(
        self, id: str, spec: RunnerSpec, token: str, changed: Callable[[Runner], None]
    ) -> Runner:
        limited = spec.machine_type in self.offers.machine_types

        def note(runner: Runner) -> None:
            tell_of(runner)
            if not runner.is_alive:
                self.hosts.forget(runner)
                with contextlib.suppress(RuntimeError):
                    self._threads.submit(self.hosts.first.seclusion.drop, runner.id)
                    if limited:  # One on this machine leaves its control group behind.
                        self._threads.submit(drop_groups)
            changed(runner)

        return Runner(
            id=id,
            spec=spec,
            token=token,
            logs=self.logs,
            loop=asyncio.get_running_loop(),
            http=self.http,
            tasks=self.tasks,
            changed=note,
            echoes=self.echoes,
            largest_result=self._largest_result,
        )

    # -- in a thread -----------------------------------------------------------------

    def _launch(
        self,
        runner: Runner,
        host: FleetHost,
        lifetime: Lifetime,
        claim: Claim | None,
        *,
        serves: bool,
    ) -> None:
        with self._refusing(runner):
            try:
                call = self._make_call(runner, host, lifetime, claim, serves=serves)
            except BaseException:
                if claim is not None:
                    claim.release()
                raise
            execution = host.scheduler.launch(claim, call, _sink_of(runner))
            check_execution(host.host.name, execution)
            runner.loop.call_soon_threadsafe(runner.launched, execution)

    @contextlib.contextmanager
    def _refusing(self, runner: Runner) -> Iterator[None]:
        """End a runner that cannot be started."""
        try:
            with translated():
                yield
        except FalCoreError as error:
            runner.cause = error
            self._refuse(runner, str(error))
        except Refusal as refusal:
            runner.loop.call_soon_threadsafe(self._refuse_for, runner, refusal)
        except Exception as error:
            self._refuse(runner, f"{type(error).__name__}: {error}")

    def _refuse_for(self, runner: Runner, error: Refusal) -> None:
        if isinstance(error, STATE_TROUBLE):
            runner.give_up(str(error), is_blocked=True)
        self._refuse(runner, str(error))

    def _refuse(self, runner: Runner, sentence: str) -> None:
        runner.reason = sentence
        runner.take(Exited())

    def _make_call(
        self,
        runner: Runner,
        host: FleetHost,
        lifetime: Lifetime,
        claim: Claim | None,
        *,
        serves: bool,
    ) -> Call:
        from fal_core.sealing import seal_function
        from fal_server_agent.agents import Agent

        spec, is_elsewhere = runner.spec, host.way.is_elsewhere
        reference = _reference_of(runner)
        paths = () if is_elsewhere else self.builds.agent_paths(spec.environment)
        sockets = host.seclusion.make_folder(runner.id)
        seen = None if is_elsewhere else self._folders
        agent = Agent(
            runner.token,
            paths,
            memory=host.scheduler.memory(spec, claim),
            name=reference,
            folder=sockets,
            network=find_network(),
            may_be_open=bool(host.seclusion.problem(spec)),
        )
        # The Python of the environment may be another than that of this process.
        seal = seal_function(agent, local_python_modules=agent.packages, portable=True)
        return Call(
            id=reference,
            name=spec.name,
            function=seal.sealed,
            arguments=Sealed(b""),
            environment=self.builds.with_agent(spec.environment, is_elsewhere=is_elsewhere),
            host_options=host.host.options(
                termination_grace_period_seconds=spec.grace,
                startup_timeout=spec.startup_timeout,
                **host.scheduler.options(spec, claim),
            ),
            gateway=Gateway(serve=True),
            sources=seal.sources,
            application_name=spec.name,
            lifetime=lifetime,
            own_network=host.seclusion.own_network(spec, serves=serves),
            reached_ports=None if seen is None else seen.reached_ports,
            folders=None if seen is None else seen.make(spec, sockets),
            owner=self._owner,
        )


def _reference_of(runner: Runner) -> str:
    """Return the name of a runner's call, and of its control group."""
    return f"runner-{runner.id}"


def _sink_of(runner: Runner) -> LimitedSink:
    """Return the sink of what the host tells of *runner*."""
    return LimitedSink(telling_of_memory(runner.take, _reference_of(runner)), _LARGEST_EVENT)
