"""
uv: how it is found, what it is told, and how its output is read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from select import POLLIN, poll
from threading import Event

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_env_virtualenv import leftovers

# They would lead uv, or the Python it starts, to another environment.
_DROPPED = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONSAFEPATH",
    "__PYVENV_LAUNCHER__",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "UV_PROJECT",
)
_PATIENCE = 0.05

#: Set when this process ends: whatever it runs is to end before it.
exiting = Event()

# A shell between us and the command: beside it, it reads our end of a pipe, which
# closes when this process ends, however it does, and then ends all that the
# command has started. No signal of the system reaches that far.
_WATCH = """\
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
"$@" 3<&-
code=$?
{ kill $!; wait $!; } 2>/dev/null
exit $code
"""


def uv_command() -> tuple[str, ...]:
    """
    Return the command that starts uv.

    Raises:
        EnvironmentBuildError: It is not installed.
    """
    try:
        from uv import find_uv_bin

        return (find_uv_bin(),)
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise EnvironmentBuildError(
            "virtualenv", "uv, which builds it, is not installed. Run 'pip install uv'."
        )
    return (found,)


def uv_variables(more: Mapping[str, str | None] = {}) -> dict[str, str]:
    """
    Return the variables that uv is started with.

    Those that name certificates and proxies pass; those that would lead it to
    another environment do not. Of *more*, None takes a variable out.
    """
    variables = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    if "PIP_CERT" in variables:
        variables.setdefault("SSL_CERT_FILE", variables["PIP_CERT"])
    if "REQUESTS_CA_BUNDLE" in variables:
        variables.setdefault("SSL_CERT_FILE", variables["REQUESTS_CA_BUNDLE"])
    variables.setdefault("UV_PYTHON_DOWNLOADS", "never")
    variables["NO_COLOR"] = "1"
    for name, value in more.items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    return variables


def ask(
    command: Sequence[str],
    *,
    errors: bool = False,
    variables: Mapping[str, str | None] = {},
    directory: str | None = None,
) -> tuple[int, str]:
    """
    Run a short *command* and return its exit code and what it printed.

    Arguments:
        errors: Whether what it printed to its standard error counts too.

        variables: Those to set for it; None takes one out.
    """
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
            env=uv_variables(variables),
            cwd=directory,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return answer.returncode, answer.stdout.decode(errors="replace")


def run(
    command: Sequence[str],
    *,
    variables: Mapping[str, str],
    directory: str,
    heard: Callable[[str], None],
    cancelled: Event,
    inherited: Sequence[int] = (),
) -> int:
    """
    Run *command*, pass each line it prints to *heard*, and return its exit code.

    Its whole process group ends with this call, and with this process, however
    they end. What a command that is ended would have removed from uv's cache is
    removed for it.

    Arguments:
        inherited: Descriptors that all its processes have open; none is below 10.

    Raises:
        Cancelled: *cancelled* was set, or this process ends.
    """
    began = time.time()
    process = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        cwd=directory,
        start_new_session=True,
        pass_fds=inherited,
    )
    try:
        for line in _lines(process, cancelled):
            heard(line)
        pause = 0.0005
        while not _has_ended(process):
            time.sleep(pause)
            pause = min(pause * 2, _PATIENCE)
    except BaseException:
        left = leftovers.places_of(process.pid)
        _end(process)
        for path in left | leftovers.places_since(began):
            leftovers.remove(path)
        raise
    _end(process)
    return process.returncode


def _lines(process: subprocess.Popen[bytes], cancelled: Event) -> Iterator[str]:
    """
    Yield the lines that *process* prints until it has ended.
    """
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    watched = poll()
    watched.register(descriptor, POLLIN)
    rest = b""
    while True:
        if cancelled.is_set() or exiting.is_set():
            raise Cancelled("The call was cancelled while its environment was built.")
        if watched.poll(_PATIENCE * 1000):
            block = os.read(descriptor, 65536)
            if not block:
                break
            *whole, rest = (rest + block).replace(b"\r", b"\n").split(b"\n")
            yield from (line.decode(errors="replace").rstrip() for line in whole)
        elif _has_ended(process):
            break  # What still holds the pipe is a stray grandchild.
    if rest:
        yield rest.decode(errors="replace").rstrip()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """
    Tell whether *process* has ended, and leave its number taken where possible.
    """
    if hasattr(os, "waitid"):
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, options) is not None
    return process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """
    End the process group of *process*, whose number is still its own, and reap it.
    """
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
