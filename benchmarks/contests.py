"""
Turns: each contestant in a process of its own, one measuring at a time.

Run as a program this module is such a process: it starts one contestant, then
measures once for each line it reads, and answers each with a line.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from benchmarks.figures import Contestant, Figure, Measure, Result
from benchmarks.pinning import cores, pin

ROOT = Path(__file__).resolve().parent.parent

#: Seconds that a contestant has to start, and for one measurement.
PATIENCE = 180.0

#: Seconds that a contestant has to end, with what it has started elsewhere.
_ENDING = 60.0

_PRIVATE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class ContestantFailed(Exception):
    """A contestant ended, or took too long."""


class Entry:
    """A contestant's process."""

    def __init__(self, contestant: Contestant) -> None:
        self._name = contestant.name
        #: Whether an answer of it is waited for.
        self._is_asked = True
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        argv = [sys.executable, "-m", "benchmarks.contests", _order(contestant)]
        if contestant.private and _can_unshare():
            argv = [*_PRIVATE, *argv]
        programs = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
        variables = {
            **os.environ,
            "PATH": programs,
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        # Whoever is measured keeps the modules it has compiled, as programs do.
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=variables,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            self._answer()
        except KeyboardInterrupt:
            self.close()
            raise

    def measure(self) -> float:
        """Have the contestant measure once."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContestantFailed(self._why_it_ended()) from None
        self._is_asked = True
        return float(self._answer())

    def close(self) -> None:
        """
        End the contestant, and what it left in its session. It ends by itself what it has
        started elsewhere, as a server with its runners, even if it measures for too long. If
        it has not, its error is printed.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        if self._is_asked:
            process.send_signal(signal.SIGINT)
        problem = ""
        try:
            if process.wait(_ENDING) and not self._is_asked:
                problem = self._last_error()
        except subprocess.TimeoutExpired:
            problem = f"it was killed after {_ENDING:g} s"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()
        self._errors.close()
        if problem:
            print(f"{self._name} may have left something: {problem}", file=sys.stderr)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            reason = self._why_it_ended() if ready else f"no answer in {PATIENCE:g} s"
            self.close()
            raise ContestantFailed(reason)
        self._is_asked = False
        return json.loads(line)

    def _why_it_ended(self) -> str:
        try:
            # It answers no more, and may still write why.
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            pass
        return self._last_error()

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        # The last line of a traceback that is no place in a file says what happened.
        said = [line for line in lines if line.strip() and line[0] not in " \t"]
        return said[-1] if said else "it ended"


def hold(figure: Figure, *, rounds: int, peers: bool = True) -> Result:
    """
    Let the contestants of *figure* measure in turns.

    Arguments:
        peers: Whether any but fal-core and the references take part.
    """
    samples: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    contestants = [
        contestant
        for contestant in figure.contestants
        if _takes_part(contestant, peers=peers, missing=missing)
    ]
    try:
        for _ in range(rounds):
            for contestant in contestants:
                if contestant.name in missing:
                    continue
                try:
                    if contestant.name not in entries:
                        entries[contestant.name] = Entry(contestant)
                    number = entries[contestant.name].measure()
                except ContestantFailed as error:
                    missing[contestant.name] = str(error)
                    entries.pop(contestant.name, None)
                    continue
                samples.setdefault(contestant.name, []).append(number)
                if figure.fresh:
                    entries.pop(contestant.name).close()
    finally:
        for entry in entries.values():
            entry.close()
    counted = {name: tuple(numbers) for name, numbers in samples.items()}
    return Result(figure=figure, samples=counted, missing=missing)


def _takes_part(contestant: Contestant, *, peers: bool, missing: dict[str, str]) -> bool:
    if contestant.role == "peer" and not peers:
        missing[contestant.name] = "peers were left out"
        return False
    for module in contestant.needs:
        if importlib.util.find_spec(module) is None:
            missing[contestant.name] = f"{module} is not installed"
            return False
    return True


def _order(contestant: Contestant) -> str:
    return json.dumps([contestant.target, dict(contestant.settings), contestant.pinned])


def _can_unshare() -> bool:
    return shutil.which("unshare") is not None and os.geteuid() == 0


# -- the contestant's process ----------------------------------------------------


@contextmanager
def _private_output() -> Iterator[TextIO]:
    """Keep standard output for answers; what the contestant prints goes elsewhere."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        yield answers


def _tell(answers: TextIO, value: float | str) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def main(order: str) -> None:
    """Be the contestant that *order* names."""
    # By it the contestant is told to end, also where a shell has started all this aside.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target, settings, pinned = json.loads(order)
    module, _, name = target.partition(":")
    start = getattr(importlib.import_module(module), name)
    pair = cores() if pinned else None
    with _private_output() as answers, ExitStack() as stack:
        measure: Measure = stack.enter_context(start(**settings))
        _tell(answers, "ready")
        for _ in sys.stdin:
            if pair is not None:
                pin(*pair)
            _tell(answers, measure())


if __name__ == "__main__":
    main(sys.argv[1])
