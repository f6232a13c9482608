"""Commands of engines that take long: their lines as they come, and an end when nobody waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from threading import Event

import attrs

from fal_core.stores import read_lines
from fal_core.workers import given_to_children
from fal_env_container.building import guards
from fal_env_container.building.build_logs import BuildLog
from fal_env_container.building.records import BuildPlace
from fal_env_container.engines import QUIET, Engine

#: Seconds that an engine which is ended is waited for.
_PATIENCE = 10.0


@attrs.frozen(kw_only=True)
class CommandRunner:
    """
    Runs the commands of one build or pull.

    Attributes:
        place: Where the engine keeps temporary files.

        log: Told each line that the engine prints.

        cancelled: Ends the engine, and what waits for it with ``Cancelled``.

        variables: Environment variables of the engine, such as those of logins.
    """

    engine: Engine
    place: BuildPlace
    log: BuildLog
    cancelled: Event
    variables: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    def run(self, *arguments: str, afterwards: Sequence[Sequence[str]] = ()) -> int:
        """Run the engine with *arguments*, and return its exit code, see :func:`run`."""
        self.log.begin()
        return run(
            self.engine,
            *arguments,
            place=self.place,
            on_line=self.log.write,
            cancelled=self.cancelled,
            variables=self.variables,
            afterwards=afterwards,
        )


def run(
    engine: Engine,
    *arguments: str,
    place: BuildPlace,
    on_line: Callable[[str], None],
    cancelled: Event,
    variables: Mapping[str, str] = {},
    afterwards: Sequence[Sequence[str]] = (),
) -> int:
    """
    Run *engine* with *arguments*, pass each line that it prints to *on_line*, and return its
    exit code.

    If *cancelled* is set or this process ends, however it does, the engine is ended, and
    what it leaves is removed. Where that takes long, it is not waited for.

    Arguments:
        place: Where the engine keeps temporary files. If this process ends, its directory is
            removed, and its lock is held until then.

        afterwards: Commands that are run where the engine did not end by itself.

    Raises:
        Cancelled: *cancelled* was set, or this process ends.
    """
    temporary = os.path.join(place.folder, "tmp")
    os.makedirs(temporary, exist_ok=True)
    work = {
        "command": engine.command(*arguments),
        "by_signal": engine.name != "podman" or engine.place == "elsewhere",
        "afterwards": [list(command) for command in afterwards],
        "folder": place.folder,
    }
    process = subprocess.Popen(
        given_to_children([sys.executable, "-I", "-S", guards.__file__, json.dumps(work)]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **QUIET, "TMPDIR": temporary, **variables},
        start_new_session=True,
        pass_fds=[place.lock],
    )
    try:
        assert process.stdout is not None
        for _, line in read_lines(
            process.stdout.fileno(),
            cancelled=cancelled,
            has_ended=lambda: process.poll() is not None,
        ):
            on_line(line)
    except BaseException:
        _leave(process)
        raise
    _close(process)
    return process.wait()


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Have the guard *process* end its engine. It holds the lock until then, if it is left."""
    _close(process)
    # Somebody has to wait for it.
    waiting = threading.Thread(target=process.wait, name="fal-core guard", daemon=True)
    waiting.start()
    waiting.join(_PATIENCE)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()
