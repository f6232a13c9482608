"""
Functions that the released SDK runs on a server.
"""

from __future__ import annotations

import hashlib
import signal


def test_result_logs_and_requirements(applied):
    """
    A function finds its requirements, its result arrives, and what it prints is printed
    before.
    """
    assert applied.python(
        """
        import contextlib, io, json, fal

        @fal.function(requirements=["pyjokes==0.8.3"], keep_alive=5)
        def add(a, b):
            import importlib.metadata
            print("adding", a, b)
            return [a + b, importlib.metadata.version("pyjokes")]

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            found = add(1, b=2)
        print("JSON " + json.dumps([found, "adding 1 2" in printed.getvalue()]))
        """
    ) == [[3, "0.8.3"], True]


def test_exception(applied):
    """
    What a function raises is raised at its caller as itself.
    """
    assert (
        applied.python(
            """
        import json, fal

        class Own(LookupError):
            pass

        @fal.function(keep_alive=0)
        def fail():
            raise Own("gone")

        try:
            fail()
        except Own as error:
            print("JSON " + json.dumps(str(error)))
        """
        )
        == "gone"
    )


def test_setup_and_warm_runners(applied):
    """
    A runner is kept for the next call, with what its setup function has returned.
    """
    first, second = applied.python(
        """
        import json, fal

        def load():
            import random
            return random.random()

        @fal.function(setup_function=load, keep_alive=30)
        def show(loaded, n):
            import os
            return [loaded, os.getpid(), n]

        print("JSON " + json.dumps([show(1), show(2)]))
        """
    )
    assert first[:2] == second[:2]
    assert (first[2], second[2]) == (1, 2)


def test_large_result(applied):
    """
    A result of 8 MB arrives whole.
    """
    assert (
        applied.python(
            """
        import hashlib, json, fal

        @fal.function(keep_alive=0)
        def make():
            return bytes(range(256)) * (8 * 4096)

        print("JSON " + json.dumps(hashlib.sha256(make()).hexdigest()))
        """
        )
        == hashlib.sha256(bytes(range(256)) * (8 * 4096)).hexdigest()
    )


def test_cancelled_call_ends_its_runner(applied, tmp_path):
    """
    A call that is cancelled ends: nothing of it runs on.
    """
    beat = tmp_path / "pid"
    applied.python(
        f"""
        import fal, os, pathlib, time

        @fal.function(keep_alive=60)
        def hang():
            import os, pathlib, time
            pathlib.Path({str(beat)!r}).write_text(str(os.getpid()))
            time.sleep(600)

        info = hang.spawn()
        while not pathlib.Path({str(beat)!r}).exists():
            time.sleep(0.05)
        info.stream.cancel()
        pid = int(pathlib.Path({str(beat)!r}).read_text())
        while os.path.exists(f"/proc/{{pid}}"):
            time.sleep(0.05)
        print("JSON true", flush=True)
        os._exit(0)
        """
    )


def test_environment_that_cannot_be_built(applied):
    """
    What the builder says arrives, and what the server does not have is told.
    """
    assert "conda" in applied.python(
        """
        import json, fal

        @fal.function("conda", packages=["zlib"], keep_alive=0)
        def never():
            pass

        try:
            never()
        except Exception as error:
            print("JSON " + json.dumps(str(error)))
        """
    )
    assert "no-such-package-of-ours" in applied.python(
        """
        import json, fal

        @fal.function(requirements=["no-such-package-of-ours==1"], keep_alive=0)
        def never():
            pass

        try:
            never()
        except Exception as error:
            print("JSON " + json.dumps(str(error)))
        """
    )


def test_killed_runner(applied):
    """
    A function that kills its own process fails, and the next call runs.
    """
    told, after = applied.python(
        f"""
        import json, fal

        @fal.function(keep_alive=30)
        def end(how):
            import os
            if how:
                os.kill(os.getpid(), {int(signal.SIGKILL)})
            return "alive"

        try:
            end(True)
        except Exception as error:
            told = str(error)
        print("JSON " + json.dumps([told, end(False)]))
        """
    )
    assert told
    assert after == "alive"
