"""
A home for the tests of sealing: what a worker of another Python gives.

Run as a script it prints, for each shape and value, "right", or how it went.
"""

import io
import json
import linecache
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
if __name__ == "__main__":
    sys.path[:0] = [HERE, *sys.argv[2:]]

from dataclasses import dataclass  # noqa: E402  # the path comes first

from fal_core.errors import FalSerializationError  # noqa: E402  # the path comes first
from fal_core.sealing.arguments import seal_arguments  # noqa: E402  # the path comes first
from fal_core.sealing.functions import seal_function  # noqa: E402  # the path comes first
from fal_core.sealing.opener import Opener  # noqa: E402  # the path comes first
from fal_core_worker.opening.seals import Sealed  # noqa: E402  # the path comes first


class Worker:
    """A process that opens and calls, kept for many functions."""

    def __init__(self, python, paths, flags=("-I",)):
        self.folder = tempfile.mkdtemp()
        script = os.path.join(HERE, "worker.py")
        self.process = subprocess.Popen(
            [python, *flags, script, *paths, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __call__(self, function, *arguments, portable=False, native=True, seal=None):
        """Return the result of *function* for each of *arguments*, exceptions as values."""
        seal = seal or seal_function(function, portable=portable)
        sealed = seal.sealed
        calls = [seal_arguments((args, {}), seal) for args in arguments]
        # A bare worker knows its own class alone.
        calls = [Sealed(one.data, [bytes(each) for each in one.buffers]) for one in calls]
        for source in seal.sources:
            with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
                archive.extractall(self.folder)
        forms = (sealed.native if native else None, sealed.portable)
        forms = [None if form is None else Sealed(*form) for form in forms]
        pickle.dump((*forms, sealed.refusal, calls), self.process.stdin)
        self.process.stdin.flush()
        opener = Opener(name=seal.name)
        return [
            (opener.open_error if raised else opener.open_value)(answer)
            for raised, answer in pickle.load(self.process.stdout)
        ]

    def close(self):
        """End the process and return its exit code."""
        self.process.stdin.close()
        self.process.stdout.close()
        shutil.rmtree(self.folder)
        return self.process.wait(60)


def attempt(call):
    """Return the result of *call*, or the error with which this side refuses it."""
    try:
        return call()[0]
    except FalSerializationError as error:
        return error


def judge(got, expected, same):
    """Return "right", "refused: …" or "wrong: …"."""
    if same(expected, got):
        return "right"
    if isinstance(got, FalSerializationError):
        return f"refused: {got}"
    return f"wrong: {got!r}, expected {expected!r}"


@dataclass
class Local:
    """A dataclass of ``__main__``."""

    x: int = 1


def main_argument(value):
    """Take and return a class of ``__main__``."""
    return Local(value.x + 1)


def echo(value):
    """Return the value."""
    return value


def run(python, paths):
    """Return how each shape and value went."""
    import shapes

    worker = Worker(python, paths)
    results = {}
    for name, (function, arguments, expected) in shapes.SHAPES.items():
        got = attempt(lambda f=function, a=arguments: worker(f, a, portable=True))
        results[f"shape: {name}"] = judge(got, expected, shapes.same)
    for name, value in shapes.VALUES.items():
        got = attempt(lambda v=value: worker(echo, (v,), portable=True))
        results[f"value: {name}"] = judge(got, value, shapes.same)
    for name, value in shapes.VALUES.items():
        got = attempt(lambda v=value: worker(shapes.echo, (v,), portable=True))
        results[f"value of the module: {name}"] = judge(got, value, shapes.same)
    got = attempt(lambda: worker(main_argument, (Local(3),), portable=True))
    results["main: dataclass argument"] = judge(got, Local(4), shapes.same)
    got = attempt(lambda: worker(echo, (Local(3),), portable=True))
    results["main: dataclass the function does not name"] = judge(got, Local(3), shapes.same)
    cell = "import math\ndef root(x):\n    return math.sqrt(x)\nmore = lambda x: root(x) + 1\n"
    place = "<ipython-input-3-abc>"
    linecache.cache[place] = (len(cell), None, cell.splitlines(True), place)
    space = {"__name__": "__main__"}
    exec(compile(cell, place, "exec"), space)
    got = attempt(lambda: worker(space["more"], (16.0,), portable=True))
    results["notebook cell"] = judge(got, 5.0, shapes.same)
    bare = {}
    exec("def made(x):\n    return x + 1", bare)
    got = attempt(lambda: worker(bare["made"], (1,), portable=True))
    results["no source"] = judge(got, 2, shapes.same)
    results["worker exits"] = str(worker.close())
    return results


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2:])))
