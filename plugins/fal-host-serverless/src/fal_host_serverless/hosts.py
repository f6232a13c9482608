"""
The host: functions run on fal.ai, or on a server that speaks its protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from fal_core.errors import OptionError
from fal_core.hosts import Capabilities, Host
from fal_host_serverless import settings
from fal_host_serverless.settings import DEFAULT_URL

if TYPE_CHECKING:
    from typing_extensions import Self

    from fal_core.calls import AuthMode, Call
    from fal_core.environments import Environment
    from fal_core.events import Sink
    from fal_core.options import Gateway, HostOptions, Options
    from fal_host_serverless.credentials import Credentials
    from fal_host_serverless.executions import ServerlessExecution
    from fal_host_serverless.turns import Turns
    from fal_host_serverless.values import RegisterApplicationResult

DeploymentStrategy = Literal["recreate", "rolling"]


# Every declaration asks for the options of every host, and few programs make this one.


def _find_credentials() -> Credentials:
    from fal_host_serverless.credentials import find_credentials

    return find_credentials()


def _make_turns() -> Turns:
    from fal_host_serverless.turns import Turns

    return Turns()


@attrs.define(eq=False, slots=False)
class FalServerlessHost(Host[..., Any]):
    """
    Runs functions on fal.ai, or on a server that speaks its protocol.

    Attributes:
        url: The address of the service. The usual one gives way to what the
            environment or a profile names.

        local_file_path: The file of the function, which *app_files* and paths in
            requirements are relative to; the working directory where it is empty.

        credentials: Found in the environment or a profile. They are in no pickle:
            whoever opens one finds its own.

        environment_name: The environment of the service to work in; the main one
            where it is None.
    """

    name: ClassVar[str] = "serverless"
    capabilities: ClassVar[Capabilities] = Capabilities(
        # What the service builds; whether a plugin declares a kind is another matter.
        kinds=frozenset({"conda", "container", "virtualenv"}),
        concurrency=16,
        # A call gives what it returned once it has ended: nothing of it comes before.
        stream=False,
        batch=False,
        home_calls=False,
        secrets=True,
        serve=True,
    )

    url: str = DEFAULT_URL
    local_file_path: str = ""
    credentials: Credentials = attrs.field(factory=_find_credentials)
    environment_name: str | None = None

    def __attrs_post_init__(self) -> None:
        from fal_host_serverless.deliveries import Deliveries

        self.turns = _make_turns()
        self.deliveries = Deliveries()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """
        Return the host at *url*, as in ``serverless://localhost:6001``.
        """
        address = url.removeprefix(cls.name).removeprefix("://").rstrip("/")
        if "/" in address or (
            not address and url.rstrip("/") not in (cls.name, f"{cls.name}:")
        ):
            raise OptionError(
                f"{url!r} is no address of a service. Write as in 'serverless://host:port', "
                "or 'serverless' for the usual one."
            )
        return cls(address) if address else cls()

    @property
    def address(self) -> str:
        """
        The address that is connected to.
        """
        return settings.grpc_host(self.url)

    @property
    def environment(self) -> str | None:
        """
        The environment of the service, also where the variable ``FAL_ENV`` names it.
        """
        return settings.environment_name(self.environment_name)

    @property
    def caller(self) -> Credentials:
        """
        Who asks the service.
        """
        return self.credentials.at(self.address)

    def launch(self, call: Call, sink: Sink) -> ServerlessExecution:
        from fal_host_serverless.executions import ServerlessExecution

        execution = ServerlessExecution(self, call, sink)
        execution.start()
        return execution

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        from fal_host_serverless.preparations import check

        check(self, environment, options, gateway)

    def register(
        self,
        func: Callable[..., Any],
        options: Options,
        *,
        application_name: str | None = None,
        application_auth_mode: AuthMode | None = None,
        source_code: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        deployment_strategy: DeploymentStrategy,
        scale: bool = True,
        environment_name: str | None = None,
        build_environment: bool | None = None,
        attach_to_deployment: bool | None = None,
        log: Callable[[Any], None] | None = None,
    ) -> RegisterApplicationResult | None:
        """
        Deploy *func*, and return its revision and where it is reached.

        Arguments:
            source_code: The text that the service shows for it.

            metadata: What it carries beside, over the OpenAPI document that it has where
                it is served.

            deployment_strategy: ``recreate`` ends the runners of the revision before;
                ``rolling`` waits until those of this one can take over.

            scale: Take the scaling of *options*; otherwise keep what is set.

            build_environment: False where it has been built.

            attach_to_deployment: Return once a rolling deployment has taken over, or
                at once; None leaves it to the service.

            log: Takes what the service says meanwhile; it is printed where nothing does.

        Raises:
            FalServerlessError: The service does not do it.

            OptionError: What is said of it cannot be.
        """
        from fal_core.sinks.printing import print_log
        from fal_host_serverless.preparations import prepare
        from fal_host_serverless.registering import (
            Registration,
            describe,
            register,
            sealed,
        )

        registration = Registration(
            application_name=application_name,
            auth_mode=application_auth_mode,
            source_code=source_code,
            metadata={**describe(func, options), **(metadata or {})},
            strategy=deployment_strategy,
            scale=scale,
            environment_name=environment_name or self.environment,
            build_environment=build_environment,
            attach_to_deployment=attach_to_deployment,
        )
        tell = log or print_log
        call = sealed(self, func, options)
        return register(self, call, prepare(self, call, tell), registration, tell)

    def close(self) -> None:
        """
        Do nothing: connections are shared, and end with the process.
        """

    # A copy stays in this process, and keeps the credentials; a pickle may go anywhere.

    def __copy__(self) -> Self:
        return attrs.evolve(self)

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return attrs.evolve(self)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "turns"}
        return {**kept, "credentials": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, credentials=_find_credentials(), turns=_make_turns())
