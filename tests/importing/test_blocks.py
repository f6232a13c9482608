"""``with imports():`` of fal_core, from the file to where the function runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import find_missing_dependencies, function, imports
from fal_core.errors import FalMissingDependencyError, FalSerializationError
from fal_core.sealing.functions import seal_function
from fal_core.sealing.sources import local_modules

FILE = """
from fal_core import imports

with imports():
    import far_package.below, far_package as far
    import here_local
    from far_package import double as twice

def compute(value, add=far.START, *, scale: far.Scale | None = None):
    return twice(value) + add, far_package.below.NAME, here_local.value

class Model:
    def compute(self, value):
        return far.double(value)

def use_class(value):
    return Model().compute(value)
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module whose imports only a worker has, apart from a local one."""
    (tmp_path / "here_written.py").write_text(FILE)
    (tmp_path / "here_local.py").write_text("value = 'local'\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("here_written")
    for name in ("here_written", "here_local"):
        sys.modules.pop(name, None)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """The folder of a package that only workers find: those that are given it."""
    package = tmp_path / "far" / "far_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "START = 1\nclass Scale: pass\ndef double(value): return value * 2\n"
    )
    (package / "below.py").write_text("NAME = 'below'\n")
    return package


@pytest.fixture
def far_worker(far: Path, sealing_home: Any) -> Iterator[Any]:
    """A worker that has the package."""
    process = sealing_home.Worker(sys.executable, [*sys.path, str(far.parent)])
    yield process
    process.close()


@pytest.mark.parametrize("portable", [False, True])
def test_a_function_takes_imports_along(
    written: ModuleType, far_worker: Any, portable: bool
) -> None:
    """
    Modules, members, defaults and annotations are the real ones in the worker, in both forms
    of the function, and nothing of them is imported here.
    """
    given = {"portable": portable, "native": not portable}
    assert far_worker(written.compute, (4,), **given) == [(9, "below", "local")]
    assert far_worker(written.use_class, (4,), **given) == [8]
    assert not {"far_package", "here_local"} & set(sys.modules)


def test_the_worker_lacks_it(written: ModuleType, bare_worker: Any) -> None:
    """A worker without the package says what the function needs."""
    (error,) = bare_worker(written.use_class, (4,))
    assert isinstance(error, FalSerializationError)
    assert "'use_class' uses module 'far_package' (as far), which its environment" in str(error)
    assert "Add what provides 'far_package' to requirements" in str(error)


def test_an_error_in_the_import_is_itself(
    written: ModuleType, far: Path, far_worker: Any
) -> None:
    """A package that is in the worker and fails as it is imported fails with its own error."""
    (far / "__init__.py").write_text("raise OSError('libcudart.so is missing')\n")
    (error,) = far_worker(written.use_class, (4,))
    assert type(error) is OSError
    assert str(error) == "libcudart.so is missing"
    assert "far_package" in str(error.__cause__)


def test_a_nested_import_that_is_missing_is_itself(
    written: ModuleType, far: Path, far_worker: Any
) -> None:
    """A package that is in the worker and lacks one of its own is the error of that."""
    (far / "__init__.py").write_text("import absent_inside\n")
    (error,) = far_worker(written.use_class, (4,))
    assert type(error) is ModuleNotFoundError
    assert error.name == "absent_inside"


def test_what_is_known_of_them(written: ModuleType) -> None:
    """They count as packages that the function needs, or as local modules that travel with it."""
    environment = {"kind": "virtualenv", "requirements": ["numpy"]}
    missing = dict(find_missing_dependencies(written.compute, environment))
    assert set(missing) == {"far-package"}
    environment["requirements"] = ["far-package"]
    assert dict(find_missing_dependencies(written.compute, environment)) == {}
    assert set(local_modules(written.compute)) == {"here_local"}
    assert not {"far_package", "here_local"} & set(sys.modules)


def test_local_modules_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far_worker: Any
) -> None:
    """What a notebook imports in a block is found among its names."""
    (tmp_path / "here_local.py").write_text("value = 'local'\n")
    monkeypatch.syspath_prepend(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__", "imports": imports}
    text = "with imports():\n    import here_local\ndef show(): return here_local.value\n"
    exec(compile(text, "<cell>", "exec", dont_inherit=True), space)
    assert set(local_modules(space["show"])) == {"here_local"}
    assert far_worker(space["show"], ()) == ["local"]


def test_a_first_use_seals_anew(written: ModuleType) -> None:
    """The function of a module that is here is sealed again once its first use has replaced it."""
    space = vars(written)
    seal = seal_function(written.compute)
    assert seal.captures.are_unchanged()
    assert space["here_local"].value == "local"
    assert space["here_local"] is sys.modules["here_local"]
    assert not seal.captures.are_unchanged()
    assert seal_function(written.compute).captures.are_unchanged()


def test_local_modules_have_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_worker: Any
) -> None:
    """
    A local module with a block is imported in a worker that has neither fal-core nor all of
    the packages.
    """
    (tmp_path / "here_blocks.py").write_text(
        "from fal_core import imports\n"
        "with imports():\n    import absent_package, colorsys\n"
        "def grey(): return colorsys.rgb_to_hls(0.5, 0.5, 0.5)[1]\n"
        "def fail(): return absent_package.anything\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def use() -> Any:
        import here_blocks

        return here_blocks.grey()

    def fail() -> Any:
        import here_blocks

        return here_blocks.fail()

    assert bare_worker(use, ()) == [0.5]
    (error,) = bare_worker(fail, ())
    assert isinstance(error, ModuleNotFoundError)
    assert not isinstance(error, FalMissingDependencyError)


def test_a_use_here_says_where_it_runs(tmp_path: Path) -> None:
    """Whatever is used here of what is not here says which function has it, and where it runs."""
    space: dict[str, Any] = {"__name__": "__main__", "imports": imports, "function": function}
    text = (
        "with imports():\n    import absent_package\n    from absent_other import name\n"
        "@function('virtualenv', requirements=['absent-package>=2'])\n"
        "def first(): return absent_package.run()\n"
        "@function('virtualenv', requirements=['distribution-of-another-name'])\n"
        "def second(): return name(absent_package)\n"
    )
    exec(compile(text, str(tmp_path / "absent.py"), "exec", dont_inherit=True), space)
    with pytest.raises(ModuleNotFoundError) as used:
        space["absent_package"].run()
    assert str(used.value) == (
        "absent_package is not installed here: it is for 'first' and 'second', which run on "
        "host 'local' in kind 'virtualenv'. Use it inside them."
    )
    with pytest.raises(ModuleNotFoundError) as called:
        space["name"]()
    assert str(called.value) == (
        "absent_other is not installed here: it is for 'second', which runs on host 'local' "
        "in kind 'virtualenv'. Use it inside 'second'."
    )
    assert called.value.name == "absent_other"
