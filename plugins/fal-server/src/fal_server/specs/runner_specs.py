"""Specs: what a runner runs, read from a request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from isolate_proto import RegisterApplicationRequest

from fal_core.environments import Environment
from fal_core_worker.serving.services import SOCKET_MARK
from fal_server.errors import Invalid
from fal_server.specs.file_paths import check_mount, read_files
from fal_server.specs.health_checks import HealthProbe
from fal_server.specs.machine_types import count_gpus, named_types
from fal_server.specs.request_retries import RequestRetries, read_retries
from fal_server.specs.requested_environments import read_environment

#: What an agent is sent to run: a header, and binary parts.
Message = tuple[dict[str, Any], list[bytes]]

#: Returns the directory of the files of an account, which are pairs of a hash and a path.
FindContext = Callable[[str, tuple[tuple[str, str], ...]], Path]

#: Seconds that a runner may take to end, unless the request says another number.
_GRACE = 5.0

#: The port that an application listens on unless its client named another.
USUAL_PORT = 8080

#: What the serialized form of a function says that can serve on a Unix socket.
_SOCKET_MARK = SOCKET_MARK.encode()

#: The method of an application that is a workflow.
WORKFLOW = "fal_server_agent.workflows"

#: How the name of an application begins that is a workflow.
WORKFLOW_PREFIX = "workflow-"

#: The longest name of an application, or of a workflow.
_LONGEST_NAME = 128

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@attrs.frozen(kw_only=True, eq=False)
class RunnerSpec:
    """
    What a runner runs.

    Attributes:
        name: Its name in logs.

        owner: The account that it belongs to.

        owner_name: The nickname of that account, as in URLs. Empty where nobody is told it.

        environment: Where its imports come from.

        asked: A digest of the environment as the client has asked for it: with the secrets
            and the passwords of its image, which *environment* shows nobody.

        method: The module that deserializes *definition*.

        definition: The function as its client has serialized it. The server never
            deserializes it.

        setup_method, setup_definition: The same for the setup function.

        entrypoint: The entry point of the function, which stands instead of a definition.

        main_thread: Whether it runs on the main thread. None where the function decides.

        port: The port on which the function serves. None for a function that is called.

        variables: Environment variables of the function.

        startup_timeout: Seconds it may take until it is ready.

        grace: Seconds it may take to end.

        machine_type: The machine type that it is to run on. Empty for any.

        fallbacks: Further machine types, each for where none of those before it can be had.

        num_gpus: How many GPUs it is to have. None for as many as its machine type has.

        application: The alias of the application. Empty for a function.

        stage: The stage of the account from which it gets its secrets.

        secrets: The names of its secrets. None for all that are exposed by default.

        files: The hashes and the paths of files in its working directory; of those that its
            image is built of, where it has one.

        mounts: Directories of the account's data, as paths below ``/data``.

        retries: How often queued requests are retried.

        private_logs: Whether only the owner sees the log lines of a request.

        takes_socket: Whether the function can serve on a Unix socket in place of a port.

        server_host: What its caller names the server: the host of its API, perhaps with a
            port. Empty where that is unknown.
    """

    name: str
    owner: str
    environment: Environment
    asked: str = ""
    method: str = ""
    definition: bytes = attrs.field(default=b"", repr=False)
    setup_method: str = ""
    setup_definition: bytes = attrs.field(default=b"", repr=False)
    entrypoint: str = ""
    main_thread: bool | None = None
    port: int | None = None
    health_check: HealthProbe | None = None
    variables: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    startup_timeout: float | None = None
    grace: float = _GRACE
    machine_type: str = ""
    fallbacks: tuple[str, ...] = ()
    num_gpus: int | None = None
    application: str = ""
    stage: str = "main"
    secrets: tuple[str, ...] | None = None
    files: tuple[tuple[str, str], ...] = ()
    mounts: tuple[str, ...] = ()
    retries: RequestRetries = attrs.field(factory=RequestRetries)
    private_logs: bool = False
    takes_socket: bool = False
    server_host: str = ""
    owner_name: str = ""

    @property
    def message(self) -> Message:
        """What its agent is sent."""
        header = {
            "method": self.method,
            "entrypoint": self.entrypoint,
            "main_thread": self.main_thread,
            "setup_method": self.setup_method,
            "port": self.port,
            "health_check": self.health_check and self.health_check.header,
            "variables": dict(self.variables),
        }
        return header, [self.definition, self.setup_definition]

    @property
    def full_name(self) -> str:
        """The application or the function with its owner, as in ``owner/app``."""
        return "/".join(filter(None, (self.owner_name, self.application or self.name)))

    @property
    def machine_types(self) -> tuple[str, ...]:
        """The machine types that it may run on, the preferred one first. None of them for any."""
        return tuple(filter(None, (self.machine_type, *self.fallbacks)))

    def on(self, *machine_types: str) -> RunnerSpec:
        """Return the spec for other machine types, the preferred one first; the same for none."""
        if not machine_types:
            return self
        first, *others = machine_types
        return attrs.evolve(self, machine_type=first, fallbacks=tuple(others))

    @property
    def is_workflow(self) -> bool:
        """Whether it runs a workflow."""
        return self.method == WORKFLOW

    def bare(self) -> RunnerSpec:
        """Return the spec without the serialized functions, which may be large."""
        return attrs.evolve(self, definition=b"", setup_definition=b"")


def read_spec(request: Any, owner: str, find_context: FindContext | None = None) -> RunnerSpec:
    """
    Return what a run or a registration of the account *owner* asks to run.

    Arguments:
        find_context: Returns the directory of the files of an account that an image is built
            of. It does not have to be there yet.

    Raises:
        Invalid: It is not complete, or asks for what this server does not have.
    """
    machine = request.machine_requirements
    files = read_files((each.hash, each.relative_path) for each in request.files)
    context = None if find_context is None else find_context(owner, files)
    environment = read_environment(request.environments, context, machine, owner=owner)
    kind = request.WhichOneof("callable")
    if kind is None:
        raise Invalid("A function or an entry point is required.")
    has_setup = request.HasField("setup_func")
    if kind == "entrypoint" and has_setup:
        raise Invalid("A setup function goes with a function, not with an entry point.")
    grace, name = _GRACE, "termination_grace_period_seconds"
    if name in request.DESCRIPTOR.fields_by_name and request.HasField(name):
        grace = float(request.termination_grace_period_seconds)
    is_registration = isinstance(request, RegisterApplicationRequest)
    spec = RunnerSpec(
        name=_check_printed(request.application_name or "function"),
        owner=owner,
        environment=environment,
        asked=_digest_of(request.environments),
        method=request.function.method if kind == "function" else "",
        definition=request.function.definition if kind == "function" else b"",
        setup_method=request.setup_func.method if has_setup else "",
        setup_definition=request.setup_func.definition if has_setup else b"",
        entrypoint=request.entrypoint if kind == "entrypoint" else "",
        main_thread=(
            request.run_on_main_thread if request.HasField("run_on_main_thread") else None
        ),
        port=machine.exposed_port if machine.HasField("exposed_port") else None,
        health_check=HealthProbe.read(request),
        # 0 clears it.
        startup_timeout=machine.startup_timeout or None,
        grace=grace,
        num_gpus=count_gpus(machine),
        stage=request.environment_name or "main",
        secrets=tuple(request.secrets.names) if request.HasField("secrets") else None,
        files=files,
        mounts=tuple(check_mount(each) for each in request.data_mounts),
        retries=read_retries(request) if is_registration else RequestRetries(),
        private_logs=is_registration and request.private_logs,
        takes_socket=_SOCKET_MARK in request.function.definition,
    )
    return spec.on(*named_types(machine))


def _digest_of(definitions: Iterable[Any]) -> str:
    whole = hashlib.sha256()
    for each in definitions:
        whole.update(each.SerializeToString(deterministic=True))
    return whole.hexdigest()


def check_name(name: str) -> str:
    """
    Return *name* if it can be the name of an application: part of a URL and of a command line,
    that no other name looks like.

    Raises:
        Invalid: It is too long, or has a character that a name does not have.
    """
    is_long = len(name.removeprefix(WORKFLOW_PREFIX)) > _LONGEST_NAME
    if is_long or not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:_LONGEST_NAME]!a} cannot be the name of an application. A name has 1 "
            f"to {_LONGEST_NAME} characters, which are letters from a to z, digits, '.', '_' "
            "and '-', and begins with a letter, a digit or '_'."
        )
    return name


def _check_printed(name: str) -> str:
    """
    Return *name*, which may be in any language, if the log can show it.

    Raises:
        Invalid: It is too long, or has a character that separates names, or that cannot be
            printed.
    """
    is_plain = name.isprintable() and not any(each in name for each in "/\\?#% ")
    if len(name.removeprefix(WORKFLOW_PREFIX)) > _LONGEST_NAME or not is_plain:
        raise Invalid(
            f"{name[:_LONGEST_NAME]!r} cannot be the name of a function. A name has 1 to "
            f"{_LONGEST_NAME} characters, none of them a space, a control character or one of "
            r"/, \, ?, # and %."
        )
    return name
