"""A cache of another user: nothing is taken from it, nothing is put into it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
from fal_core import function


@function("current", host="local")
def here():
    return 1


@function("virtualenv", host="local")
def there():
    return 1
"""

#: Commands, and the directories of the cache that each needs.
COMMANDS = {
    "run NAME::here": ("archives",),
    "run NAME::there": ("virtualenvs",),
    "run --detach NAME::here": ("executions",),
    "executions list": ("executions",),
    "env list": ("virtualenvs",),
    "env prune": ("virtualenvs",),
    "doctor": ("archives", "virtualenvs"),
}

#: The id of a user that there is none of.
STRANGER = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root makes directories of other users.")
@pytest.mark.parametrize(
    ("command", "given"),
    [(each, given) for each, used in COMMANDS.items() for given in ("", *used)],
)
def test_cache_of_another_user_is_refused(tmp_path: Path, command: str, given: str) -> None:
    """
    Commands that need a directory of the cache end with a sentence that says whose it is
    and what to set, if it, or the cache, belongs to another user.
    """
    file, foreign = tmp_path / "module.py", tmp_path / "cache" / given
    file.write_text(SOURCE)
    foreign.mkdir(parents=True)
    os.chown(foreign, STRANGER, STRANGER)
    done = subprocess.run(
        [sys.executable, "-m", "fal_core.cli", *command.replace("NAME", str(file)).split()],
        env={**os.environ, "FAL_CORE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 1, told
    assert f"The cache directory {foreign} is refused: it belongs to the user with" in told
    assert "Set the variable FAL_CORE_CACHE" in told
    assert "Traceback" not in told
    assert list(foreign.iterdir()) == []
