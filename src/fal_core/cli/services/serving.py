"""Services on the command line: their URLs, their log, and reloading."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from fal_core.cli.arguments import Arguments
from fal_core.cli.outputs import (
    complain,
    is_abandoned,
    is_terminal,
    remote_traceback,
    report,
    styled,
)
from fal_core.cli.progress import Progress, shown
from fal_core.cli.services.versions import Version, Versions
from fal_core.errors import Cancelled, FalCoreError, HostError
from fal_core.events import Log
from fal_core.functions import IsolatedFunction
from fal_core.loading.scripts import with_own_block
from fal_core.loading.targets import TargetError, TargetImportError, load_target
from fal_core.sealing.sources import local_modules
from fal_core.sinks.printing import node_prefix, print_log
from fal_core.spawns import SpawnInfo
from fal_core_worker.serving.ports import free_port
from fal_core_worker.serving.services import StartupError

#: Seconds between two checks of the files of a service that runs, and of one that does not.
_LOOK, _INTERVAL = 0.02, 0.1

#: Seconds that running requests have to finish once a file has changed.
_PATIENCE = 0.5

#: Seconds that a cancelled service has to end of its own accord.
_GRACE = 2.0


def is_service(function: IsolatedFunction[..., Any]) -> bool:
    """Tell whether *function* is a service: reached from outside while it runs."""
    return function.options.get_exposed_port() is not None


def at_port(function: IsolatedFunction[..., Any], port: int) -> IsolatedFunction[..., Any]:
    """
    Return *function* as a service that listens on *port*.

    Raises:
        UsageError: It is no service.
    """
    if not is_service(function):
        raise click.UsageError(
            "Option '--port' is for services, and this function is none. "
            "Declare it with serve=True."
        )
    return function.on(exposed_port=port or None)


def serve_once(
    function: IsolatedFunction[..., Any],
    given: Arguments,
    tell: Callable[[Mapping[str, str]], None],
) -> None:
    """
    Serve *function* until it ends, Ctrl-C or SIGTERM, and print what it raised.

    Arguments:
        given: What the function takes, if it serves by itself.

        tell: Prints the URLs of the service.
    """
    try:
        with _interrupted_by_sigterm():
            serve(function, given, tell=tell)
    except FalCoreError:
        raise
    except Exception as error:
        _show(error)
        raise click.exceptions.Exit(1) from error


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """
    Have SIGTERM do what Ctrl-C does: the service manager of a machine sends it.

    Only the main thread gets signals, and the others leave them to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # None stands for a handler that this Python has not set, nor can set again.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def serve(
    function: IsolatedFunction[..., Any],
    given: Arguments = ((), {}),
    watched: Watched | None = None,
    version: Version | None = None,
    tell: Callable[[Mapping[str, str]], None] | None = None,
) -> bool:
    """
    Serve *function* until it ends or Ctrl-C, and print its URLs and its log.

    Return whether it was ended because a file of *watched* has changed.

    Arguments:
        given: The arguments of a function that serves by itself.

        version: The process of a service that is reloaded; it is told once the service
            is ready.

    Raises:
        Exception: The exception of the service.

        KeyboardInterrupt: Ctrl-C came before the service was ready, or a second time;
            the service has ended.

        BrokenPipeError: Nobody reads the output any more; the service has ended.
    """
    # A service may tell its author more of a failure, as its log is in front of them.
    os.environ.setdefault("FAL_SERVE_DEVELOPING", "1")
    log = ServiceLog()
    progress = Progress(sys.stderr, log)
    with shown(function, progress) as there:
        info = there.spawn(*given[0], **given[1])
        try:
            return _follow(info, watched, log, version, tell or show_urls)
        except KeyboardInterrupt:
            if not info.urls:
                raise
            _end_gently(info)
        except HostError:
            # An error of the host does not repeat the kept lines.
            log.release()
            raise
        finally:
            _end_at_once(info)
    return False


def _follow(
    info: SpawnInfo,
    watched: Watched | None,
    log: ServiceLog,
    version: Version | None,
    tell: Callable[[Mapping[str, str]], None],
) -> bool:
    future = info.future
    assert future is not None
    told = False
    while not future.done():
        if is_abandoned(sys.stdout):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if not told and info.await_url(_LOOK) and info.urls:
            told = True
            tell(info.urls)
            log.release()
            if version is not None and watched is not None:
                version.serves(watched.paths)
        if told:
            _wait(future, _LOOK)
        if watched is not None and watched.has_changed():
            click.echo(f"Changed: {watched.changed}. Starting again.", err=True)
            info._ask(info.stream.drain)
            _wait(future, _PATIENCE)
            return True
    future.result()
    return False


def _end_gently(info: SpawnInfo) -> None:
    click.echo("Ending; requests that run may finish. Ctrl-C again ends it at once.", err=True)
    info._ask(info.stream.drain)
    assert info.future is not None
    while not info.future.done():
        # An interrupt just before a wait is handled only after it, so waits are short.
        _wait(info.future, _INTERVAL)


def _end_at_once(info: SpawnInfo) -> None:
    future = info.future
    assert future is not None
    if not future.done():
        info._ask(info.stream.cancel, _GRACE)
        _wait(future, _GRACE + 3)


def _wait(future: Any, seconds: float) -> None:
    from concurrent.futures import wait

    wait([future], timeout=seconds)


def show_urls(urls: Mapping[str, str]) -> None:
    """Print the URLs of a service, the one to call first."""
    width = max(map(len, urls))
    for name in sorted(urls, key=lambda name: name != "run"):
        heading = styled(name.ljust(width), sys.stdout, bold=True)
        click.echo(f"{heading}  {styled(urls[name], sys.stdout, fg='cyan')}")


def serve_again(target: str, host: str | None, port: int | None) -> None:
    """
    Serve what *target* names, and start again whenever one of its files is saved.

    Each version has a process of its own, so that nothing of the old one is left; the
    port and the environment stay the same. Ctrl-C or SIGTERM ends it.
    """
    place = port or free_port()
    Versions().run(lambda version: _serve_version(version, target, host, place))


def _serve_version(version: Version, target: str, host: str | None, port: int) -> None:
    try:
        function = with_own_block(load_target(target))
    except (TargetError, TargetImportError) as error:
        report(error)
        _await_change(Watched.beside(target))
    else:
        if not is_service(function):
            raise click.UsageError("Option '--reload' is for services, and this is none.")
        function = at_port(function if host is None else function.on(host), port)
        watched = Watched.of(function)
        try:
            changed = serve(function, watched=watched, version=version)
        except Exception as error:
            _show(error)
            _await_change(watched)
        else:
            if not changed:
                return
        function.host.close()
    version.end()


def _await_change(watched: Watched) -> None:
    click.echo("Waiting for a change.", err=True)
    watched.wait(_INTERVAL)


def _show(error: Exception) -> None:
    if isinstance(error, StartupError):
        complain(str(error))
        return
    text = remote_traceback(error)
    if not text and isinstance(error, OSError):
        # The command failed, not the service.
        raise error
    if text:
        click.echo(text, err=True)
    if not isinstance(error, Cancelled):
        said = error if isinstance(error, FalCoreError) else f"{type(error).__name__}: {error}"
        complain(f"The service has ended: {said}")


_COLOURS = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}


class ServiceLog:
    """
    Prints the lines of a service as they come, except those that tell why it cannot start.

    The error of the service repeats those, so they wait until they are released.
    """

    def __init__(self) -> None:
        self._kept: list[Log] | None = []
        # Lines come on another thread than the one that releases them.
        self._lock = threading.Lock()

    def __call__(self, log: Log) -> None:
        """Print a line, or keep it."""
        with self._lock:
            if self._kept is not None and _tells_where(log):
                self._kept.append(log)
                return
        show_line(log)

    def release(self) -> None:
        """Print the kept lines, and keep no more."""
        with self._lock:
            kept, self._kept = self._kept, None
        for log in kept or ():
            show_line(log)


def _tells_where(log: Log) -> bool:
    facts = _facts_of(log)
    return facts is not None and ("traceback" in facts or "stack" in facts)


def _facts_of(log: Log) -> dict[str, Any] | None:
    """Return the object in a line of JSON; None where there is none."""
    if not log.message.startswith("{"):
        return None
    try:
        facts = json.loads(log.message)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def show_line(log: Log) -> None:
    """Print a line; on a terminal a line of JSON becomes a sentence."""
    facts = _facts_of(log) if is_terminal(sys.stderr) else None
    if facts is None:
        print_log(log)
        return
    sys.stderr.write(f"{node_prefix(log)}{_sentence(log, facts)}\n")
    sys.stderr.flush()


def _sentence(log: Log, facts: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(log.time))
    if "traceback" in facts:
        which = f"Request {facts['request_id']}: " if facts.get("request_id") else ""
        return f"{clock} {which}{str(facts['traceback']).rstrip()}"
    if "status" not in facts or "path" not in facts:
        shown = "  ".join(f"{name}={value}" for name, value in facts.items() if name != "time")
        return f"{clock} {shown}"
    status = int(facts["status"] or 0)
    number = styled(str(status), sys.stderr, fg=_COLOURS.get(status // 100, "white"))
    took = f"{float(facts.get('milliseconds') or 0):.1f} ms"
    request = styled(str(facts.get("request_id", "")), sys.stderr, dim=True)
    return f"{clock} {facts.get('method', '')} {facts['path']} {number} {took} {request}"


# The files are few and known, so they are polled: the core needs no ``watchfiles`` for it.

#: Folders without sources of a function.
_PASSED = {"__pycache__", "node_modules", "site-packages"}
_MOST = 5000


class Watched:
    """
    Files, and their state when this was made.

    Attributes:
        changed: The file that has changed, relative to the working directory.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._states = {path: _state(path) for path in paths}
        self.changed: str = ""

    @classmethod
    def of(cls, function: IsolatedFunction[..., Any]) -> Watched:
        """Watch the module of *function*, and the local modules that it needs."""
        raw = function.raw_func
        assert raw is not None
        paths = set(local_modules(raw, function.local_python_modules or ()).values())
        own = getattr(sys.modules.get(raw.__module__), "__file__", None)
        return cls(paths | ({own} if own else set()))

    @classmethod
    def beside(cls, target: str) -> Watched:
        """Watch the file that *target* names, and the Python files beside it."""
        place = target.partition("::")[0]
        folder = os.path.dirname(os.path.abspath(place)) if os.sep in place else os.getcwd()
        paths = {os.path.abspath(place)} if place.endswith(".py") else set()
        return cls(paths.union(_python_files(folder)))

    @property
    def paths(self) -> Collection[str]:
        """The watched files."""
        return self._states.keys()

    def has_changed(self) -> bool:
        """Tell whether a file was changed, removed or created."""
        for path, state in self._states.items():
            if _state(path) != state:
                self.changed = os.path.relpath(path)
                return True
        return False

    def wait(self, interval: float) -> None:
        """Wait for a change, checking every *interval* seconds."""
        while not self.has_changed():
            time.sleep(interval)


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _python_files(folder: str) -> Iterator[str]:
    count = 0
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name not in _PASSED]
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(root, name)
                count += 1
        if count > _MOST:
            return
