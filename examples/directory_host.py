"""
A host whose work outlives the process that launched it.

All that is known of detached work is in the files of a directory, so that any process of
the user can follow it and end it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import attrs

from fal_core.abilities import DetachingHost, ExecutionStatus
from fal_core.caches import (
    cache_directory,
    is_locked,
    leave_to_children,
    try_lock,
    write_atomically,
)
from fal_core.calling import LateExecution, with_attempts, with_deadline
from fal_core.calls import Call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Credit, Event, Exited, Item, Log, Message, Reply, Sink, State
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.pools import Start, WorkerHost
from fal_core.sealing import decode_call, encode_call
from fal_core.sinks import Journal, JournalReader, decode_message, encode_message, read_journal
from fal_core.workers import ARGUMENTS, Worker

#: Starts a program that goes on by itself.
IN_BACKGROUND = ("/bin/sh", "-c", '"$@" &', "sh")
#: Seconds between two looks at a file, and those that work has to end by itself.
PAUSE, GRACE = 0.05, 2.0


@attrs.define(eq=False, slots=False)
class DirectoryHost(WorkerHost[..., Any], DetachingHost):
    """
    Runs calls on this machine; each detached one has a directory.

    Attributes:
        root: The directory of these directories.
    """

    name: ClassVar[str] = "directory"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, concurrency=4, detach=True
    )

    root: Path = attrs.field(factory=lambda: Path(cache_directory("directory-host", make=True)))

    @classmethod
    def from_url(cls, url: str) -> DirectoryHost:
        """Return the host of a directory, as in ``directory:///srv/work``."""
        return cls(Path(url.removeprefix("directory://")))

    def begin(self, start: Start) -> Worker:
        return Worker.start(start.build().command(ARGUMENTS))

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        if call.lifetime != "detached":
            return super().launch_apart(call, sink)
        # It is renamed once it is whole: what a killed process leaves is no work.
        new = self.root / f".{call.id}"
        new.mkdir(parents=True, mode=0o700)
        (new / "call").write_bytes(encode_call(attrs.evolve(call, lifetime="attached")))
        (new / "journal").touch()
        lock = try_lock(new / "lock", shared=False, create=True)
        assert lock is not None
        folder = new.rename(self.root / call.id)
        command = (*IN_BACKGROUND, sys.executable, __file__, str(folder))
        with open(folder / "errors", "wb") as errors:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[lock],
                start_new_session=True,
                check=True,
            )
        # The supervisor has the lock for as long as it runs.
        leave_to_children(lock)
        return self.attach(call.id, sink)

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        folder = self.root / reference
        if "/" in reference or not (folder / "journal").exists():
            raise HostError(f"Host {self.name!r} has no detached work {reference!r}.")
        return FollowedExecution(folder, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        for folder in self.root.glob("[!.]*"):
            ended = not is_locked(folder / "lock")
            events = list(read_journal(folder / "journal"))
            phases = [event.name for event in events if isinstance(event, State)]
            call = decode_call((folder / "call").read_bytes(), options=self.options)
            yield ExecutionStatus(
                reference=folder.name,
                name=call.name,
                phase=phases[-1] if phases else "queued",
                started=(folder / "call").stat().st_mtime,
                ended=ended,
            )


class FollowedExecution:
    """Detached work, as a process sees it that follows it."""

    def __init__(self, folder: Path, sink: Sink, after: int) -> None:
        self.reference = folder.name
        self._folder = folder
        threading.Thread(target=self._follow, args=(sink, after), daemon=True).start()

    def send(self, message: Message) -> None:
        # The supervisor gives credit: items are kept, whether or not anybody reads them.
        if isinstance(message, Reply):
            self._ask(b"send", encode_message(message))

    def drain(self) -> None:
        self._ask(b"drain")

    def cancel(self, grace: float) -> None:
        self._ask(b"cancel", b"%f" % grace)

    def _ask(self, method: bytes, argument: bytes = b"") -> None:
        path = self._folder / f"request-{time.time_ns()}"
        write_atomically(path, method + b"\n" + argument, mode=0o600)

    def _follow(self, sink: Sink, after: int) -> None:
        reader = JournalReader()
        with open(self._folder / "journal", "rb") as journal:
            while True:
                # In this order: a supervisor that has ended writes no more.
                runs = is_locked(self._folder / "lock")
                for event in reader.feed(journal.read()):
                    if reader.number > after:
                        sink(event)
                    if isinstance(event, Exited):
                        return
                if not runs:
                    sink(Exited(reason=WorkerLost(detail="Its supervisor has ended.")))
                    return
                time.sleep(PAUSE)


def supervise(folder: Path) -> None:
    """Run the call of a directory, and write its events there until it has ended."""
    host = DirectoryHost(folder.parent)
    call = decode_call((folder / "call").read_bytes(), options=host.options)
    execution = LateExecution(call.id)
    journal = Journal(folder / "journal")
    ended = threading.Event()

    def record(event: Event) -> None:
        if isinstance(event, Log) and event.partial:
            return
        journal.append(event)
        if isinstance(event, Item):
            execution.send(Credit(event.count))
        if isinstance(event, Exited):
            ended.set()

    # Nobody else is there to keep these two.
    launch = with_attempts(host.launch, call.retries)
    if call.timeout is not None:
        launch = with_deadline(launch, call.timeout, grace=GRACE)
    try:
        execution.settle(launch(call, record))
    except HostError as error:
        record(Exited(reason=error))
    while not ended.wait(PAUSE):
        for path in sorted(folder.glob("request-[0-9]*[0-9]")):
            method, _, argument = path.read_bytes().partition(b"\n")
            path.unlink()
            if method == b"send":
                execution.send(decode_message(argument))
            elif method == b"cancel":
                execution.cancel(float(argument))
            else:
                execution.drain()
    host.close()


fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``directory``."""
    return [DirectoryHost]


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
