"""Sealed objects are opened, or refused with what is missing."""

from __future__ import annotations

import collections
import pickle
import sys
import threading
from typing import Any

import pytest

from fal_core.sealing.functions import seal_function
from fal_core_worker.opening.functions import open_function
from fal_core_worker.opening.seals import (
    CODE_PREFIX,
    LARGE_PIECE,
    PLAIN_PREFIX,
    MissingModule,
    SealingError,
    assemble,
)
from fal_core_worker.opening.unpickling import (
    OPENING,
    CollectedClasses,
    open_sealed,
)

#: The prefix of another Python.
FOREIGN = bytes((1, 0, 3, 99))


def name_of(module: str, name: str) -> bytes:
    """Return a pickle of the object that *module* has under *name*."""
    return f"c{module}\n{name}\n.".encode()


def test_a_missing_module_is_named_with_what_to_do() -> None:
    """The error has the module, where it was looked for, and the remedy."""
    sealed = PLAIN_PREFIX + name_of("no_such_module", "name"), ()
    with pytest.raises(MissingModule) as caught:
        open_sealed(sealed, "an argument of 'f'", "Install it.")
    assert str(caught.value) == (
        "Python cannot open an argument of 'f': module 'no_such_module' is not found in "
        f"{sys.prefix!r}. Install it."
    )


def test_values_without_code_of_another_python_are_opened() -> None:
    """Plain values are opened whichever Python sealed them, and so are their buffers."""
    value = [1, pickle.PickleBuffer(bytearray(b"data"))]
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    number, buffer = open_sealed((FOREIGN + data, buffers), "a value")
    assert (number, bytes(buffer)) == (1, b"data")


def test_code_of_another_python_is_not_even_read() -> None:
    """What holds code is refused before it is opened, with both versions."""
    sealed = bytes((1, 1, 3, 99)) + name_of("antigravity", "geohash"), ()
    with pytest.raises(SealingError, match=r"it holds code of Python 3\.99\. Send plain"):
        open_sealed(sealed, "a value")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("prefix", [PLAIN_PREFIX, CODE_PREFIX, FOREIGN], ids=repr)
def test_what_does_not_open_says_why(prefix: bytes) -> None:
    """
    The error has what was opened, the error of the pickle, and who sealed it if that is
    another Python.
    """
    sealed = prefix + name_of("collections", "NoSuchName"), ()
    with pytest.raises(SealingError, match=r"cannot open a value.*: AttributeError") as caught:
        open_sealed(sealed, "a value")
    assert ("sealed by Python 3" in str(caught.value)) == (prefix == FOREIGN)


def test_classes_that_have_moved_are_found_at_their_former_place() -> None:
    """A private module that only the other Python has stands for the module around it."""
    moved = name_of("collections._elsewhere", "OrderedDict")
    assert open_sealed((FOREIGN + moved, ()), "a value") is collections.OrderedDict
    for module in ("collections.elsewhere", "_elsewhere"):
        with pytest.raises(MissingModule, match=f"module '{module}' is not found"):
            open_sealed((FOREIGN + name_of(module, "OrderedDict"), ()), "a value")
    # This Python's own pickles name things where they are.
    with pytest.raises(SealingError, match="_elsewhere"):
        open_sealed((PLAIN_PREFIX + moved, ()), "a value")


def test_classes_that_have_moved_are_found_beside_large_pieces() -> None:
    """That holds for a pickle whose large pieces travel beside it, too."""
    large = bytes(LARGE_PIECE)
    head = b"(" + name_of("collections._elsewhere", "OrderedDict")[:-1]
    head += pickle.BINBYTES + len(large).to_bytes(4, "little")
    data, buffers = assemble([head, large, b"t."])
    foreign = data[:2] + FOREIGN[2:] + data[4:]
    assert open_sealed((foreign, buffers), "a value") == (collections.OrderedDict, large)
    with pytest.raises(MissingModule, match="_elsewhere"):
        open_sealed((data, buffers), "a value")


def test_classes_are_collected_where_they_arrive() -> None:
    """Each context collects the classes that arrive inside it, an outer one those of the inner."""

    class Size:
        pass

    def measure() -> Any:
        return Size()

    sealed = seal_function(measure).sealed.native
    with CollectedClasses() as outer:
        with CollectedClasses() as inner:
            open_function(sealed, None)
        assert inner == {Size}
    assert outer == inner
    with CollectedClasses() as later:
        pass
    assert later == set()


def test_code_is_opened_by_one_thread_at_a_time() -> None:
    """A thread that opens code waits for the one that does, and plain values for neither."""
    done: list[Any] = []

    def open_both() -> None:
        done.append(open_sealed((PLAIN_PREFIX + pickle.dumps(1), ()), "a value"))
        plain.set()
        done.append(open_sealed((CODE_PREFIX + pickle.dumps(2), ()), "a value"))

    plain = threading.Event()
    thread = threading.Thread(target=open_both)
    with OPENING:
        thread.start()
        assert plain.wait(30)
        # Nothing shows that a thread waits; this is long enough for one that does not.
        thread.join(0.05)
        assert done == [1]
    thread.join(30)
    assert done == [1, 2]
