"""
Limits: which sizes of a machine an engine holds its containers to.

Engines ignore limits where the system lets them set none, as for a user without the rights of
root. It is found by trying once, with an image that has nothing in it, and is kept for as long
as what the engine says of itself.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fal_core.caches import write_atomically
from fal_core.errors import EnvironmentBuildError
from fal_core.machines import LIMITS, HeldLimits, Machine
from fal_env_container.engines import Answer, Engine, clean_problem
from fal_env_container.finding import is_old, record_path

#: Processes of a container beside the worker: its init process, and the worker's guard.
_OWN_PROCESSES = 2

#: How engines name each limit.
_NAMES = {"memory": "memory", "cpus": "cpu", "processes": "pid"}

#: What they say of one that they ignore, or that they cannot set.
_IGNORED = re.compile(
    r"ignored|discarded|not supported|not available|denied|can ?not (be )?set", re.I
)
_OF_LIMITS = re.compile(r"limit|cgroup|controller", re.I)

#: What they exit with where a container has no such program, and its limits are set.
_HAS_NO_PROGRAM = (126, 127)

#: What they exit with where they have made no container.
_STARTS_NONE = 125

#: Bytes of an archive without files.
_EMPTY = bytes(1024)

_held: dict[Engine, HeldLimits] = {}


def find_held_limits(engine: Engine, *, anew: bool = False) -> HeldLimits:
    """
    Return which sizes of a machine *engine* holds its containers to. What cannot be found
    out is taken for held.

    Arguments:
        anew: Whether to try, even if the limits are known.
    """
    known = None if anew else _held.get(engine)
    if known is None:
        known = _held[engine] = HeldLimits(by=engine.name, ignored=_recall(engine, anew=anew))
    return known


def _recall(engine: Engine, *, anew: bool) -> dict[str, str]:
    """Return the ignored limits as they are kept, or as they are found now."""
    record = record_path(engine.program)
    path = None if record is None else f"{record}.limits"
    try:
        if path is not None and not anew and not is_old(path):
            with open(path, encoding="utf-8") as stream:
                return {str(limit): str(why) for limit, why in json.load(stream).items()}
    except (OSError, ValueError, AttributeError):
        pass  # It is tried.
    try:
        ignored = find_ignored(engine)
    except (EnvironmentBuildError, OSError):
        return {}
    if path is not None:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, json.dumps(ignored), durable=False)
        except OSError:
            pass  # It is tried again.
    return ignored


def find_ignored(engine: Engine) -> dict[str, str]:
    """
    Return which limits *engine* ignores, each with what it says about that as a sentence,
    found by running a container with them all.

    Raises:
        EnvironmentBuildError: It makes no such container.
    """
    with _empty_image(engine) as image:
        limits = ("--memory=64m", "--cpus=0.5", "--pids-limit=64", "--network=none")
        return read_ignored(
            engine.ask("run", "--rm", "--pull=never", *limits, image, "nothing")
        )


def find_start_problem(engine: Engine) -> str:
    """
    Return why *engine* starts no container as those of functions are, with an init process and
    a network, as part of a sentence. Empty if it starts them.
    """
    options = ("--init",) if engine.has_init else ()
    try:
        with _empty_image(engine) as image:
            made = engine.ask("run", "--rm", "--pull=never", *options, image, "nothing")
    except (EnvironmentBuildError, OSError) as error:
        return str(getattr(error, "reason", error)).rstrip(".")
    # What is missing then is the program alone.
    return made.problem if made.code == _STARTS_NONE else ""


@contextmanager
def _empty_image(engine: Engine) -> Iterator[str]:
    """
    Yield the name of an image that has nothing in it.

    Raises:
        EnvironmentBuildError: The engine imports none.
    """
    image = f"localhost/fal-core-limits:{os.getpid()}-{os.urandom(4).hex()}"
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        archive.write(_EMPTY)
        archive.flush()
        # The engine may be another user.
        os.chmod(archive.name, 0o644)
        made = engine.ask("import", archive.name, image)
    if made.code != 0:
        raise EnvironmentBuildError(
            "container", f"{engine.name} imports no image: {made.problem}."
        )
    try:
        yield image
    finally:
        engine.ask("rmi", "--force", image)


def read_ignored(answer: Answer) -> dict[str, str]:
    """Return the limits that an engine says it ignores, or could not set, each with its line."""
    found: dict[str, str] = {}
    has_failed = answer.code not in (0, *_HAS_NO_PROGRAM)
    for line in answer.errors.splitlines():
        if not (_IGNORED.search(line) and _OF_LIMITS.search(line)):
            continue
        if not has_failed and line.lower().startswith("error"):
            # The container was made: what is missing is its program.
            continue
        named = [limit for limit, word in _NAMES.items() if _names(line, word)]
        sentence = f"{clean_problem(line.removeprefix('WARNING: '))}."
        for limit in named or LIMITS:
            found.setdefault(limit, sentence)
    return found


def _names(line: str, word: str) -> bool:
    return re.search(rf"\b{word}s?\b", line, re.I) is not None


def build_options(engine: Engine) -> Iterable[str]:
    """
    Yield what *engine* is told to leave a quarter of the memory to what else runs beside a
    step of a stranger's build, where it can be told so.
    """
    if engine.name != "podman" or "memory" in find_held_limits(engine).ignored:
        return
    if engine.place == "here":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
        yield from (f"--memory={memory}", f"--memory-swap={memory}")


def limit_options(engine: Engine, machine: Machine | None) -> Iterable[str]:
    """
    Yield what *engine* is told to hold a container to the sizes of *machine*. It is not told
    what it ignores.
    """
    if machine is None or all(getattr(machine, limit) is None for limit in LIMITS):
        return
    ignored = find_held_limits(engine).ignored
    if machine.memory is not None and "memory" not in ignored:
        # Without swap it ends where the machine would.
        yield from (f"--memory={machine.memory}", f"--memory-swap={machine.memory}")
    if machine.cpus is not None and "cpus" not in ignored:
        # An engine refuses more than there are.
        there = os.cpu_count() if engine.place == "here" else None
        yield f"--cpus={min(machine.cpus, there or machine.cpus):g}"
    if machine.processes is not None and "processes" not in ignored:
        yield f"--pids-limit={machine.processes + _OWN_PROCESSES}"
