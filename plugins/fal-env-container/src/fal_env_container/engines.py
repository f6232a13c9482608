"""Engines: programs that build images and run containers, and what each of them can do."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from fal_core.errors import EnvironmentBuildError
from fal_core.reprs import show_fields

EngineName = Literal["podman", "docker", "nerdctl"]

KIND = "container"

#: Names the engine to use: one of the known ones, or the path of its program.
ENGINE_VARIABLE = "FAL_CORE_CONTAINER_ENGINE"

#: Bytes that a command may print whose answer is read as a whole.
MOST_PRINTED = 256 << 20

#: What the engines add to each command's environment, so that nothing but errors is
#: printed on their standard error.
QUIET: Mapping[str, str] = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}


@attrs.frozen(kw_only=True)
class Engine:
    """
    A program that builds images and runs containers.

    Attributes:
        name: Which command line it has.

        program: The path of the program.

        version: As in ``5.4.2``.

        place: Where its containers run: on this machine's kernel, or on another one, as
            with ``DOCKER_HOST`` or in the virtual machine of Docker Desktop.

        platform: Of the images that it runs without emulation, as in ``linux/amd64``.

        is_rootless: Whether it runs without the rights of root.

        passes_descriptors: Whether open descriptors reach a container, by the option
            ``--preserve-fds``.

        takes_devices: Whether it takes names of CDI devices, as in
            ``nvidia.com/gpu=UUID``.

        has_init: Whether it can put an init process into a container, by ``--init``.

        settings: A digest of the environment variables that lead to it, as those of another
            store do. Engines that differ in them have other images.
    """

    __repr__ = show_fields

    name: EngineName
    program: str
    version: str
    place: Literal["here", "elsewhere"]
    platform: str
    is_rootless: bool = False
    passes_descriptors: bool = False
    takes_devices: bool = False
    has_init: bool = True
    settings: str = ""

    @property
    def joins_networks(self) -> bool:
        """Whether its containers can be in a network namespace of this machine."""
        return self.name == "podman" and self.place == "here" and not self.is_rootless

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line that runs the engine with *arguments*."""
        return (self.program, *arguments)

    def ask(self, *arguments: str, seconds: float = 60.0, most: int = MOST_PRINTED) -> Answer:
        """
        Run the engine with *arguments*, and return its answer.

        Arguments:
            most: Bytes that it may print.

        Raises:
            EnvironmentBuildError: It cannot be started, has not answered in time, or prints
                more than that.
        """
        return ask(self.command(*arguments), seconds=seconds, most=most)

    def explain_platform(self, platform: str) -> str:
        """Return why it runs no program of *platform*, as part of a sentence, and what to do."""
        return (
            f"{self.name} runs {self.platform} on this machine, and {platform} with an "
            "emulator alone. Install one, such as qemu-user, or write "
            f"platform={self.platform!r}"
        )


@attrs.frozen
class Answer:
    """What a command of an engine printed, and its exit code."""

    code: int
    output: str
    errors: str

    @property
    def problem(self) -> str:
        """
        What the engine says is wrong on its standard error, or the last that it has printed
        there, as part of a sentence.
        """
        lines = [line for line in self.errors.splitlines() if line.strip()]
        last = clean_problem(lines[-1]) if lines else "it does not say why"
        return find_problem(self.errors) or last


#: What stands before a reason in the errors of engines.
_PREFIXES = re.compile(r"(?:docker: |error: |error response from daemon: )+", re.I)
#: The same in their own logs, which escape quotes.
_LOGGED = re.compile(r'time="[^"]*" level=fatal msg="((?:[^"\\]|\\.)*)".*')


def find_problem(said: str) -> str | None:
    """
    Return what an engine that has printed *said* calls its last error, as part of a sentence.
    None if it speaks of none.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [
        number
        for number, line in enumerate(lines)
        if _PREFIXES.match(line) or _LOGGED.match(line)
    ]
    if not wrong:
        return None
    last = lines[wrong[-1]]
    if last.endswith(":"):
        # The reason stands below it.
        last = " ".join((last, *lines[wrong[-1] + 1 :][:1]))
    return clean_problem(last)


def clean_problem(line: str) -> str:
    """Return *line* of an engine's errors as part of a sentence."""
    text = line.strip()
    if logged := _LOGGED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", logged[1])
    found = _PREFIXES.match(text)
    return text[found.end() if found else 0 :].rstrip(".")


def ask(command: Sequence[str], *, seconds: float = 60.0, most: int = MOST_PRINTED) -> Answer:
    """
    Run *command* to its end, and return what it printed.

    Arguments:
        most: Bytes that it may print.

    Raises:
        EnvironmentBuildError: It cannot be started, did not end within *seconds*, or prints
            more than that.
    """
    what = " ".join(command[:3])
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **QUIET},
        )
    except OSError as error:
        raise EnvironmentBuildError(
            KIND, f"{command[0]} cannot be started: {error.strerror}."
        ) from error
    with process:
        try:
            until = time.monotonic() + seconds
            output, errors = _read_printed(process, until, most)
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise EnvironmentBuildError(
                KIND,
                f"{what} has not answered within {seconds:g} s. Call again if this machine was "
                "busy.",
            ) from error
        except OverflowError as error:
            raise EnvironmentBuildError(
                KIND, f"{what} prints more than {most} bytes, and was ended."
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
    return Answer(code, output.decode(errors="replace"), errors.decode(errors="replace"))


def _read_printed(
    process: subprocess.Popen[bytes], until: float, most: int
) -> tuple[bytearray, bytearray]:
    """
    Return what *process* prints on its two streams until both are closed.

    Raises:
        TimeoutExpired: They are not, *until* then.

        OverflowError: It is more than *most* bytes.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    printed = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    both = tuple(printed.values())
    watched = select.poll()
    for descriptor in printed:
        watched.register(descriptor, select.POLLIN)
    while printed:
        left = until - time.monotonic()
        if left <= 0:
            raise subprocess.TimeoutExpired(process.args, left)
        for descriptor, _ in watched.poll(1000 * left):
            block = os.read(descriptor, 1 << 16)
            printed[descriptor] += block
            if not block:
                watched.unregister(descriptor)
                del printed[descriptor]
        if sum(map(len, both)) > most:
            raise OverflowError(most)
    return both[0], both[1]
