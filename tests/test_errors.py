"""Errors: one tree, whose classes cross processes with their facts."""

from __future__ import annotations

import pickle
import re
import signal

import pytest

from fal_core import errors as tree
from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    FalCoreError,
    HostClosed,
    HostError,
    OptionError,
    OutOfMemory,
    StartupTimeout,
    Timeout,
    UnknownNameError,
    UnknownOptionError,
    UnsupportedError,
    WorkerLost,
    WrongKindError,
)


def test_the_tree_is_drawn_as_it_is() -> None:
    """The drawing at the top of the module has every class of it, below its base."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for indent, name in re.findall(r"^    ([│├└─ ]*)([A-Z]\w+)", tree.__doc__ or "", re.M):
        depth = len(indent) // 4
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else "Exception"
    classes = {
        name: each
        for name, each in vars(tree).items()
        if isinstance(each, type) and issubclass(each, FalCoreError)
    }
    assert drawn == {name: each.__bases__[0].__name__ for name, each in classes.items()}


@pytest.mark.parametrize("error", [UnknownOptionError("a"), WrongKindError("a", "b", ("c",))])
def test_errors_of_declarations_travel(error: OptionError) -> None:
    """The errors keep their facts through a pickle."""
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_wrong_declarations_are_value_errors_and_timeouts_are_timeouts() -> None:
    """Programs that know nothing of the tree catch these by the classes of Python."""
    assert issubclass(OptionError, ValueError)
    assert issubclass(StartupTimeout, TimeoutError)
    assert not issubclass(HostError, ValueError)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WorkerLost(), "The worker ended before it answered."),
        (WorkerLost(3), "The worker exited with code 3 before it answered."),
        (
            WorkerLost(0, signal.SIGKILL, "It was the newest."),
            "The worker was killed (SIGKILL). It was the newest.",
        ),
        (
            WorkerLost(signal=9, peak=23_100_000_000, memory=24_000_000_000, function="f"),
            "Worker of 'f' was killed (SIGKILL); peak memory 23.1 GB of 24 GB.",
        ),
        (
            WorkerLost(signal=signal.SIGSEGV, function="f", place="f, line 12"),
            "Worker of 'f' crashed (SIGSEGV) in f, line 12.",
        ),
        (WorkerLost(signal=signal.SIGABRT), "The worker crashed (SIGABRT)."),
        (WorkerLost(signal=63), "The worker was ended by signal 63 before it answered."),
        (OutOfMemory(signal=9), "The worker was ended because it ran out of memory."),
        (Timeout(0.3), "The call took longer than 0.3 s and was ended."),
        (Cancelled(), "The call was cancelled."),
        (Cancelled("The queue was emptied."), "The queue was emptied."),
        (HostClosed("local"), "Host 'local' cannot take calls. It was closed."),
        (UnsupportedError("local", "stream", "Use a list."), "cannot stream. Use a list."),
        (UnknownNameError("host", "mars", ()), "No host is called 'mars'. Installed: none."),
        (UnknownOptionError("a", "b", "serve"), "Unknown option 'a'. Did you mean 'b'?"),
        (UnknownOptionError("a", extra="serve"), "run `pip install 'fal-core[serve]'`."),
        (WrongKindError("a", "b", ("c", "d")), "belongs to kind 'c' or 'd', not to 'b'."),
    ],
)
def test_sentences_are_made_of_the_facts(error: FalCoreError, sentence: str) -> None:
    """The text of an error says what was wrong, and what to do where that is known."""
    assert str(error).endswith(sentence)


def test_a_failed_build_shows_the_lines_that_were_not_said() -> None:
    """The last lines of the builder follow the reason, but for those it repeats."""
    lines = ("resolving", "no such package")
    error = EnvironmentBuildError("virtualenv", "There is no six.", "six", lines)
    assert str(error) == (
        "The virtualenv environment could not be built at requirement 'six': There is no six.\n"
        "  resolving\n  no such package"
    )
    said = EnvironmentBuildError("virtualenv", "There is no six.", lines=lines, unsaid=())
    assert str(said) == "The virtualenv environment could not be built: There is no six."
