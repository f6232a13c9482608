"""
Child processes of functions, which find the module of their function.
"""

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

USE = """
results, code = {module}.pools(sys.argv[1])
assert code == 0
assert [type(result) for result in results] == [{module}.Own] * 3
assert [result.number for result in results] == [0, 2, 4]
"""


@pytest.fixture
def run_project(tmp_path: Path) -> Callable[..., str]:
    """
    Run a program beside the module ``tasks``, and return its output.
    """

    def run(source: str, *arguments: str) -> str:
        (tmp_path / "tasks.py").write_text(MODULE)
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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_run_functions_of_the_module(
    method: str, run_project: Callable[..., str]
):
    """
    A pool finds the functions and classes of the function's own module, however it
    starts its processes; what they print arrives.
    """
    printed = run_project("import tasks\n" + USE.format(module="tasks"), method)
    assert "child 7" in printed.splitlines()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_run_functions_of_a_program(
    method: str, run_project: Callable[..., str]
):
    """
    The same where the functions are those of the program itself, ``__main__``.
    """
    program = MODULE + "\nif __name__ == '__main__':\n"
    program += textwrap.indent(USE.replace("{module}.", ""), "    ")
    assert "child 7" in run_project(program, method).splitlines()


def test_pickle_refers_to_objects_that_travelled(run_project: Callable[..., str]):
    """
    In a worker ``pickle`` takes functions and classes of the module by their names,
    and results are of the caller's own classes all the same.
    """
    run_project(
        """
        import tasks

        for _ in range(2):
            assert type(tasks.pickled()) is tasks.Own
        """
    )


def test_versions_of_one_module_do_not_disturb_each_other(run_project: Callable[..., str]):
    """
    In one worker two functions whose modules have the same name run as they are; for
    what has the same name pickle finds the last that came.
    """
    run_project(
        """
        import os, types
        from fal_core import function

        def load(text):
            module = types.ModuleType("versions")
            sys.modules["versions"] = module
            exec(text, vars(module))
            return module

        text = '''
        import os, pickle
        from fal_core import function
        class Own:
            version = {version}
        def only_{version}():
            return {version}
        @function("current", max_concurrency=1)
        def ask():
            assert pickle.loads(pickle.dumps(only_{version})) is only_{version}
            return os.getpid(), Own().version
        @function("current", max_concurrency=1)
        def dump():
            return pickle.loads(pickle.dumps(Own())).version
        '''
        text = text.replace("\\n        ", "\\n")
        first, second = load(text.format(version=1)), load(text.format(version=2))
        assert first.dump() == 1
        pid, version = first.ask()
        assert version == 1
        assert second.ask() == (pid, 2)
        assert second.dump() == 2
        assert first.ask() == (pid, 1)
        """
    )


def test_real_modules_come_before_those_that_travelled(
    run_project: Callable[..., str], tmp_path: Path
):
    """
    A module that travels as source is imported as it is, also where a function of it
    has travelled by value before.
    """
    (tmp_path / "helping.py").write_text("import tasks\n\ndef name():\n    return tasks.MARK\n")
    run_project(
        """
        import tasks
        from fal_core import function

        assert tasks.pickled().number == 3

        @function("current", local_python_modules=["tasks", "helping"])
        def ask():
            import helping

            return helping.name()

        assert ask() == 5
        """
    )


def test_error_for_a_name_that_did_not_travel(run_project: Callable[..., str]):
    """
    Unpickling a name in a child process that the worker does not have is an error that
    says what to do.
    """
    printed = run_project(
        """
        import tasks

        tasks.pickled()
        print(tasks.ask_for("speak"))
        """
    )
    assert "did not travel" in printed
    assert "beside" in printed
