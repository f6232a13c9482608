"""What the Python of a container does before a worker starts in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from local_engines import LocalEngine

from fal_env_container import finding
from fal_env_container.building import inventory
from fal_env_container.running.first_lines import first_lines
from fal_env_container.running.interpreters import ContainerInterpreter

#: Looks at a package of the standard library that no Python imports as it starts.
_ASK = (
    "import json.decoder, os; "
    "print(os.path.exists(os.path.join(os.path.dirname(json.__file__), '__pycache__')))"
)


def has_compiled(image: str) -> bool:
    """Tell whether the library of *image* has compiled modules in a new container."""
    engine = finding.find_engine()
    found = inventory.find_image(engine, image)
    assert found is not None
    interpreter = ContainerInterpreter(engine=engine, image=found)
    command = interpreter.command(("-I", "-c", _ASK))
    done = subprocess.run(
        command.argv,
        env={**os.environ, **command.variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def test_compiled_modules_are_kept_between_containers(
    engine: LocalEngine, python: str, cache: Path
):
    """
    The library of an image without compiled modules is compiled once, outside of its
    containers.
    """
    assert not has_compiled(python)
    [kept] = (cache / "container-workers" / "compiled").rglob("json/__pycache__/decoder.*.pyc")
    made = kept.stat().st_mtime_ns
    has_compiled(python)
    assert kept.stat().st_mtime_ns == made


def test_an_image_with_compiled_modules_uses_them(
    engine: LocalEngine, python: str, cache: Path
):
    """Where the image has them, nothing is kept beside it."""
    made = engine.run(
        *("create", "--pull=never", python, "python3", "-c"), "import json.decoder"
    )
    engine.run("start", "--attach", made)
    engine.run("commit", "--quiet", made, "localhost/tests/compiled:1")
    engine.run("rm", made)
    assert has_compiled("localhost/tests/compiled:1")
    assert not (cache / "container-workers" / "compiled").exists()


def test_there_is_nothing_to_do_without_a_cache_and_paths():
    """Then no line is added."""
    assert first_lines(first=[], packages={}, compiled=None) == ""
