"""Libraries: found once their values can be there, and imported by nothing here."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Sequence
from typing import Any

import pytest

from fal_core_worker.buffers.libraries import find_reducer, memory_classes

#: Seals and opens values of classes of its own, and says which libraries were imported.
PROGRAM = """
import sys
from fal_core_worker.opening.pickling import seal
from fal_core_worker.opening.unpickling import open_sealed

class Own:
    pass

sealed = seal([Own(), bytes(1 << 20)], "the value", "")
assert type(open_sealed(sealed, "the value")[0]) is Own
print(*{"numpy", "pandas", "pyarrow", "torch"}.intersection(sys.modules))
"""


def test_no_library_is_imported_for_other_values() -> None:
    """A process that has no values of a library does not import it."""
    command: Sequence[str] = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_module_that_only_has_the_name_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A library that is being imported has its classes once they are there. A module of the
    user's with its name has none.
    """
    module: Any = types.ModuleType("torch")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    before = memory_classes()
    monkeypatch.setitem(sys.modules, "torch", module)
    assert memory_classes() == before
    module.Tensor = "no class"
    assert memory_classes() == before
    module.Tensor = type("Tensor", (), {})
    assert set(memory_classes()) == {*before, module.Tensor}
    monkeypatch.delitem(sys.modules, "torch")
    assert module.Tensor not in memory_classes()


def test_subclasses_belong_to_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of the user's that derives from one of a library has its reducer."""
    module: Any = types.ModuleType("numpy")
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    memory_classes()
    monkeypatch.setitem(sys.modules, "numpy", module)
    module.ndarray = dict
    assert dict in memory_classes()
    derived = type("derived", (dict,), {})
    assert find_reducer(derived).__name__ == "reduce_array"
    monkeypatch.delitem(sys.modules, "numpy")
    assert dict not in memory_classes()
