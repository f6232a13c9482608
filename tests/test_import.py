"""Importing fal-core is light."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: What is imported by the function that needs it, when it is called.
HEAVY = (
    "asyncio",
    "cattrs",
    "click",
    "cloudpickle",
    "concurrent.futures.process",
    "ctypes",
    "email",
    "hypothesis",
    "importlib.metadata",
    "json",
    "logging.config",
    "multiprocessing",
    "packaging",
    "pytest",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "typing_extensions",
    "urllib.request",
    "uuid",
    "zipfile",
)


def modules_after(statement: str) -> set[str]:
    """Return the modules that a new Python has imported after it ran *statement*."""
    program = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def unavoidable() -> set[str]:
    """Return the modules that attrs, pluggy and the start of this Python import by themselves."""
    return modules_after("import attrs, pluggy")


@pytest.mark.parametrize(
    "statement",
    [
        "import fal_core",
        "import fal_core.hooks, fal_core.environments",
        "import fal_core.hosts, fal_core.options, fal_core.events, fal_core.calls",
    ],
)
def test_import_is_light(statement: str, unavoidable: set[str]):
    """Heavy modules are imported only when they are needed, also by plugins."""
    loaded = modules_after(statement) - unavoidable
    assert not loaded.intersection(HEAVY)


def test_import_loads_no_plugin():
    """Plugins are loaded by the first declaration, not by the import."""
    loaded = modules_after("import fal_core")
    assert not {name for name in loaded if name.startswith(("fal_host_", "fal_env_"))}


def test_a_declaration_looks_closely_at_no_value() -> None:
    """
    What hosts are capable of, and plain options, are checked without the conversion of values
    that need a closer look.
    """
    pytest.importorskip("fal_host_local")
    loaded = modules_after("import fal_core; fal_core.function('current', timeout=5)(len)")
    assert "fal_host_local.hosts" in loaded
    assert "fal_core.conversion.strict" not in loaded
    # Kinds that the function does not have are known all the same.
    assert "pathlib" not in loaded


def test_worker_import_is_light():
    """A worker that has not opened code yet has imported no package but itself."""
    statement = "import fal_core_worker.main"
    loaded = modules_after(statement) - modules_after("pass")
    packages = {name.partition(".")[0] for name in loaded}
    assert packages <= {"fal_core_worker", *sys.stdlib_module_names}
    assert not loaded.intersection(HEAVY)


def test_worker_starts_without_what_is_slow_to_import() -> None:
    """
    A worker opens a plain function without importing the modules that would double its start
    time.
    """
    loaded = modules_after("import fal_core_worker.main, fal_core_worker.opening.functions")
    slow = {"enum", "pickle", "re", "signal", "typing"} - modules_after("pass")
    assert not loaded.intersection(slow)


def test_names_that_are_imported_on_first_use_are_listed() -> None:
    """``dir`` lists every public name, including those that were not imported yet."""
    program = "import fal_core; print(set(fal_core.__all__) - set(dir(fal_core)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.stdout.strip() == "set()", told.stderr
