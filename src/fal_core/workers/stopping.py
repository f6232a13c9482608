"""Stopping a worker, and closing what is open for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core.errors import HostError, OutOfMemory, WorkerLost
from fal_core.reprs import in_one_line
from fal_core.workers.patient_streams import PatientStream
from fal_core_worker.stream import frames

if TYPE_CHECKING:
    from fal_core.machines import Machine
    from fal_core.workers.driving import StreamReader

#: Seconds that a worker may take to exit when it is asked to.
_PATIENCE = 2.0
#: Seconds after which a killed worker counts as gone, regardless of what the host reports.
_GIVE_UP_AFTER = 10.0


class StoppableWorker:
    """
    The end of a worker's life.

    Arguments:
        stream: The stream to it.

        kill: Ends the worker and all it has started, at once.

        wait: Waits until its processes are gone, for some seconds; returns whether they are.

    Attributes:
        stopped: Whether it was asked to end, or will end.

        reference: What its host knows it by, such as the id of a job or a container. A host
            that needs it sets it.

        is_orphan: Whether it has ended because what had started it has. Its host says so before
            it tells why the worker was lost: a call that was not begun is made again.

        stream_reader: Reads the stream.

        executions: The calls that run.

        hello: What it has said about itself; None while it is not up.
    """

    stream_reader: StreamReader
    executions: Any
    hello: Any
    reference: str = ""
    is_orphan: bool = False

    def __init__(
        self,
        stream: PatientStream,
        *,
        kill: Callable[[], None] | None,
        wait: Callable[[float], bool] | None,
    ) -> None:
        self.stopped: bool = False
        self._stream = stream
        self._kill = kill
        self._wait = wait

    @property
    def gone(self) -> bool:
        """Whether its stream has ended."""
        return self.stream_reader.gone

    @property
    def reason(self) -> HostError | None:
        """Why it has ended, if nobody asked it to."""
        return self.stream_reader.reason

    def follow(self) -> None:
        """Have the event thread deliver events from now on."""
        self.stream_reader.follow()

    def stop(self, *, watch: bool = True) -> None:
        """
        Let the worker end once it is idle. One that has not come up is killed: it may never
        read that.

        Arguments:
            watch: Notice its end and close what is open for it. Otherwise the caller
                does so, with :meth:`forget`.
        """
        self.stopped = True
        if self.hello is None:
            self.kill()
        try:
            self._stream.send(frames.STOP)
        except (OSError, ValueError):
            pass
        if watch:
            self.stream_reader.follow()

    def stop_and_wait(self) -> None:
        """Stop an idle worker, and wait until its processes are gone."""
        if self.gone:
            return
        self.stop(watch=False)
        if not self._wait_for_processes(_PATIENCE):
            self.kill()
            self._wait_for_processes(_GIVE_UP_AFTER)
        # Nothing reads its stream any more, which would show that the worker has exited.
        self.forget()

    def kill(self) -> None:
        """End the worker and all it has started, at once."""
        self.stopped = True
        if self._kill is not None:
            try:
                self._kill()
                return
            except Exception as error:
                _log_failure("kill", error)
        # It ends by that as well, unless it hangs.
        self.close()

    def close(self) -> None:
        """
        Close the stream, which ends the worker; calls that run end as lost.

        Any thread may call it. If another thread reads, that one ends the calls, after it
        has read what is there.
        """
        self.stopped = True
        self.stream_reader.close()

    def why(self) -> HostError:
        """
        Close the stream of a worker that is gone, wait until it is known why it has ended,
        and return that.
        """
        self.stopped = True
        return self.stream_reader.why()

    def abandon(self) -> None:
        """Close the stream of a worker that belongs to the parent process, after a fork."""
        self.stopped = True
        self.stream_reader.abandon()

    def forget(self) -> None:
        """Close everything that is open for a worker whose end was not noticed."""
        self.stopped = True
        self.stream_reader.forget()

    def _wait_for_processes(self, timeout: float) -> bool:
        """Wait until the processes are gone, if the host can tell; return whether they are."""
        try:
            return self._wait is None or self._wait(timeout)
        except Exception as error:
            _log_failure("wait", error)
            return False

    def trim(self) -> bool:
        """
        Free shared memory at both ends, while the worker is idle.

        It returns whether some is left, which may be freed later.
        """
        if self.gone or self.executions or not self._stream.shared_size:
            return False
        # The worker announces what it no longer uses in frames that may not be read yet.
        self.stream_reader.read_waiting()
        try:
            self._stream.trim()
            self._stream.send(frames.TRIM)
        except (OSError, ValueError):
            return False
        return self._stream.shared_size > 0


def reason_of_exit(code: int, said: str, machine: Machine | None = None) -> WorkerLost:
    """
    Return why a worker was lost, of the exit code of the process around it and of what that
    printed last.

    Arguments:
        code: Negative for a signal. As a shell, a worker's guard tells the signal that has
            ended the worker by 128 and its number, and so do most programs.

        machine: What the process was limited to. None where nothing was.
    """
    # Slow to import.
    from fal_core_worker.running.guards import OUT_OF_MEMORY

    number = -code if code < 0 else code - 128 if code > 128 else None
    place = ""
    if "Fatal Python error: " in said:
        from fal_core.workers.crash_reports import split_report

        said, place = split_report(said)
    found = re.search(rf"{re.escape(OUT_OF_MEMORY)} (\d+)\s*", said)
    if found is None:
        return WorkerLost(code, number, said, place=place)
    rest, peak = f"{said[: found.start()]}{said[found.end() :]}".strip(), int(found[1]) or None
    if machine is None or machine.memory is None:
        return OutOfMemory(code, number, rest, peak)
    from fal_core.machines import out_of_memory

    return out_of_memory(WorkerLost(code, number, rest), machine, peak)


def find_reason(lost: Callable[[], HostError]) -> HostError:
    """Return why a worker was lost, as *lost* tells. If it cannot, the error says so."""
    try:
        reason: object = lost()
        if isinstance(reason, HostError):
            return reason
        raise TypeError(f"lost() returned {reason!r}, and no HostError.")
    except BaseException as error:
        failure = HostError(
            f"The worker was lost, and its host cannot tell why. {_in_words(error)}"
        )
        failure.__cause__ = error
        return failure


def _log_failure(callback: str, error: Exception) -> None:
    """Log what a host's *callback* has raised, where no call can be told."""
    # Slow to import.
    import logging

    logging.getLogger("fal_core.workers").error(
        "The %s() of a worker's host raised %s", callback, _in_words(error)
    )


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {in_one_line(error)}"
