"""The host ``serverless``: functions run on fal.ai, or on a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from fal_core.errors import OptionError
from fal_core.hosts import Capabilities, Host
from fal_host_serverless.account import addresses
from fal_host_serverless.account.addresses import DEFAULT_URL

if TYPE_CHECKING:
    from typing_extensions import Self

    from fal_core.calls import AuthMode, Call
    from fal_core.environments import Environment
    from fal_core.events import Sink
    from fal_core.options import Gateway, HostOptions, Options
    from fal_host_serverless.account.credentials import Credentials
    from fal_host_serverless.running.executions import ServerlessExecution
    from fal_host_serverless.running.turns import Turns
    from fal_host_serverless.values import DeploymentStrategy, RegisterApplicationResult
    from fal_host_serverless.wire.services import Service


# Imports inside functions: every program that declares a function imports this module for
# the options of its host, and few run anything on it.


def _find_credentials() -> Credentials:
    from fal_host_serverless.account.credentials import find_credentials

    return find_credentials()


def _make_turns() -> Turns:
    from fal_host_serverless.running.turns import Turns

    return Turns()


@attrs.define(eq=False, slots=False)
class FalServerlessHost(Host[..., Any]):
    """
    Runs functions on fal.ai, or on a server that speaks its protocol.

    Attributes:
        url: The address of the service. A variable or a profile may replace the
            default one.

        local_file_path: The file of the function, which *app_files* and paths in
            requirements are relative to; the working directory where it is empty.

        credentials: By default those of variables, a profile or a login. A pickle does
            not hold them: the process that opens it looks up its own.

        environment_name: The stage to work in; the main one where it is None.
    """

    name: ClassVar[str] = "serverless"
    capabilities: ClassVar[Capabilities] = Capabilities(
        # The kinds that the service builds, even if no plugin here declares them.
        kinds=frozenset({"conda", "container", "virtualenv"}),
        concurrency=16,
        # It returns a value once the call has ended, and nothing before: it neither streams
        # nor takes batches, and no call comes home.
        options=None,
        cancel=True,
        crash=True,
        secrets=True,
        serve=True,
        own_machines=True,
    )

    url: str = DEFAULT_URL
    local_file_path: str = ""
    credentials: Credentials = attrs.field(factory=_find_credentials)
    environment_name: str | None = None

    def __attrs_post_init__(self) -> None:
        from fal_host_serverless.running.lean_calls import LeanCalls

        self.turns: Turns = _make_turns()
        self.lean_calls: LeanCalls = LeanCalls()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the host at *url*, as in ``serverless://localhost:6001``."""
        address = url.removeprefix(f"{cls.name}://").rstrip("/")
        if "/" in address:
            raise OptionError(
                f"{url!r} is not the address of a service. Write as in "
                "'serverless://host:port', or 'serverless' for the default one."
            )
        return cls(address) if address else cls()

    @property
    def address(self) -> str:
        """The address that is connected to."""
        return addresses.find_address(self.url)

    def find_service(self) -> Service:
        """
        Return the service, as variables and profiles name it now.

        Raises:
            FalServerlessError: The address is wrong.
        """
        from fal_host_serverless.wire.services import Service

        address = self.address
        return Service(
            address=address,
            credentials=self.credentials.at(address),
            stage=addresses.find_stage(self.environment_name),
            local_file_path=self.local_file_path,
        )

    def launch(self, call: Call, sink: Sink) -> ServerlessExecution:
        from fal_host_serverless.running.executions import ServerlessExecution

        execution = ServerlessExecution(
            self.find_service, call, sink, turns=self.turns, lean_calls=self.lean_calls
        )
        execution.start()
        return execution

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        from fal_host_serverless.uploading import inputs
        from fal_host_serverless.wire import requests

        requests.check(options, gateway)
        inputs.check(self.local_file_path, environment, options)

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
        Deploy *func*, and return its revision and its URLs.

        Arguments:
            source_code: The text that the service shows as the source of the revision.

            metadata: What the revision carries beside its code. It replaces what *func*
                has of the same name, such as its OpenAPI document.

            deployment_strategy: ``recreate`` ends the runners of the previous revision;
                ``rolling`` waits until those of this one can take over.

            scale: Whether the scaling of *options* replaces the one that is set.

            environment_name: The stage to deploy to, in place of that of the host.

            build_environment: False if the environment has been built.

            attach_to_deployment: Return once a rolling deployment has taken over, or
                at once; None leaves that to the service.

            log: Takes the log of the deployment; by default it is printed.

        Raises:
            FalServerlessError: The service refused the deployment, or it failed.

            OptionError: An option or an argument is wrong.
        """
        from fal_core.functions import IsolatedFunction
        from fal_core.sinks import print_log
        from fal_host_serverless.deploying import registrations
        from fal_host_serverless.uploading import inputs

        function = (
            func
            if isinstance(func, IsolatedFunction)
            else IsolatedFunction(self, func, options)
        )
        registration = registrations.Registration(
            application_name=application_name,
            auth_mode=application_auth_mode,
            source_code=source_code,
            metadata={**registrations.describe(function), **(metadata or {})},
            strategy=deployment_strategy,
            scale=scale,
            build_environment=build_environment,
            attach_to_deployment=attach_to_deployment,
        )
        tell = log or print_log
        call = registrations.seal(function)
        service = self.find_service()
        if environment_name:
            service = attrs.evolve(service, stage=environment_name)
        uploaded = inputs.upload(service, call, tell)
        return registrations.register(service, call, uploaded, registration, tell)

    def close(self) -> None:
        """Do nothing: channels are shared, and last as long as the process."""

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
