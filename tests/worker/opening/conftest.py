"""A project whose functions travel without their module, and the program that runs it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

MODULE = """
import functools, multiprocessing, pickle, sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from fal_core import function

MARK = 5

class Colour(Enum):
    RED = 1

@dataclass
class Own:
    number: int
    colour: Colour = Colour.RED

def work(number):
    return Own(number * 2)

@functools.lru_cache
def cached(number):
    return number

def speak(number):
    print("child", number)

@function("current")
def pools(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = list(pool.map(work, range(3)))
        assert list(pool.map(cached, range(3))) == [0, 1, 2]
    assert all(type(result) is Own and result.colour is Colour.RED for result in results)
    with context.Pool(2) as pool:
        assert pool.map(work, range(3)) == results
    process = context.Process(target=speak, args=(7,))
    process.start()
    process.join()
    return results, process.exitcode

@function("current")
def ask_for(name):
    try:
        getattr(__import__(__name__), name)
    except AttributeError as error:
        return str(error)

@function("current")
def pickled():
    own = pickle.loads(pickle.dumps(Own(3)))
    assert type(own) is Own
    assert pickle.loads(pickle.dumps(work)) is work
    assert pickle.loads(pickle.dumps(cached)) is cached
    return own
"""


@pytest.fixture
def tasks_module() -> str:
    """The source of the module ``tasks``."""
    return MODULE


@pytest.fixture
def run_project(tmp_path: Path, tasks_module: str) -> Callable[..., str]:
    """Run a program beside the module ``tasks``, and return its output."""

    def run(source: str, *arguments: str) -> str:
        (tmp_path / "tasks.py").write_text(tasks_module)
        program = tmp_path / "program.py"
        program.write_text("import sys\n" + textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, str(program), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
