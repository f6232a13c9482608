"""Functions that the released SDK runs on a server."""

from __future__ import annotations

import hashlib
import signal

import pytest


def test_result_logs_and_requirements(applied):
    """
    A function imports its requirements, and its result arrives after the lines that it
    printed.
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


@pytest.mark.usefixtures("newest_clients")
def test_output_of_a_child_process(applied):
    """
    Output of a process that a function starts is printed to the caller, also on a runner
    that was called before.
    """
    assert (
        applied.python(
            """
        import contextlib, io, json, fal

        @fal.function(keep_alive=30)
        def speak(word):
            import subprocess
            subprocess.run(["echo", word])

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            speak("first word")
            speak("second word")
        told = printed.getvalue()
        print("JSON " + json.dumps("first word" in told and "second word" in told))
        """
        )
        is True
    )


def test_exception(applied):
    """
    An exception of a function is raised at its caller.

    The program ends itself once it has printed its result: the SDK leaves the end of such a
    call unread, and where that arrives while Python ends, grpcio's thread is ended with a
    lock of the call, for which grpcio then waits for ever.
    """
    assert (
        applied.python(
            """
        import json, os, fal

        class Own(LookupError):
            pass

        @fal.function(keep_alive=0)
        def fail():
            raise Own("gone")

        try:
            fail()
        except Own as error:
            print("JSON " + json.dumps(str(error)), flush=True)
            os._exit(0)
        """
        )
        == "gone"
    )


def test_setup_and_warm_runners(applied):
    """A runner is kept for the next call, with the result of its setup function."""
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


@pytest.mark.usefixtures("newest_clients")
def test_large_result(applied):
    """A result of 8 MB arrives whole."""
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
    """A cancelled call ends, with all its processes."""
    beat = tmp_path / "pid"
    applied.python(
        f"""
        import fal, os, pathlib, time

        @fal.function(keep_alive=60)
        def hang():
            import os, pathlib, time
            pathlib.Path({str(beat)!r}).write_text(str(os.getpid()))
            # Ends by being cancelled.
            time.sleep(600)

        info = hang.spawn()
        beat = pathlib.Path({str(beat)!r})
        # Until it runs.
        while not (beat.exists() and beat.read_text()):
            time.sleep(0.05)
        info.stream.cancel()
        pid = int(beat.read_text())
        # Until its process has ended.
        while os.path.exists(f"/proc/{{pid}}"):
            time.sleep(0.05)
        print("JSON true", flush=True)
        os._exit(0)
        """
    )


@pytest.mark.usefixtures("newest_clients")
def test_environment_that_cannot_be_built(applied):
    """
    The output of the builder arrives at the caller, and the error of an environment that the
    server cannot build names its kind, installed there or not.
    """
    assert "conda" in applied.python(
        """
        import json, fal

        @fal.function(
            "conda", packages=["zlib"], channels=["file:///nowhere"], keep_alive=0
        )
        def never():
            pass

        try:
            never()
        except Exception as error:
            print("JSON " + json.dumps(str(error)))
        """
    )
    told = applied.python(
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
    assert "no-such-package-of-ours" in told
    assert "reach" not in told


@pytest.mark.usefixtures("newest_clients")
def test_killed_runner(applied):
    """A function that kills its own process fails, and the next call runs."""
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


@pytest.mark.usefixtures("newest_clients")
def test_served_function(applied):
    """A served function answers at its url until its run is ended."""
    assert applied.python(
        """
        import json, fal, httpx

        @fal.function(serve=True, keep_alive=0)
        def greet(name: str = "you") -> dict:
            return {"hello": name}

        info = greet.spawn()
        answer = httpx.post(info.url, params={"name": "Ann"}, timeout=60)
        info.stream.cancel()
        gone = httpx.post(info.url, timeout=60)
        while gone.status_code != 404:
            gone = httpx.post(info.url, timeout=60)
        print("JSON " + json.dumps(answer.json()), flush=True)
        import os
        os._exit(0)
        """
    ) == {"hello": "Ann"}


def test_modules_of_the_client(applied, tmp_path):
    """A function takes the modules along that it names, and those that it is in."""
    (tmp_path / "words_of_mine").mkdir()
    (tmp_path / "words_of_mine" / "__init__.py").write_text("")
    (tmp_path / "words_of_mine" / "all.py").write_text("def first(): return 'sesame'\n")
    assert (
        applied.python(
            """
        import json, sys, fal
        sys.path.insert(0, ".")
        import words_of_mine.all

        @fal.function(local_python_modules=["words_of_mine"], keep_alive=0)
        def tell():
            return words_of_mine.all.first()

        print("JSON " + json.dumps(tell()))
        """,
            directory=tmp_path,
        )
        == "sesame"
    )


def test_files_of_a_context(applied, tmp_path, may_mount):
    """
    Files lie below ``/app`` as they do below their context directory, and the working
    directory of a function is its own place among them.
    """
    if not may_mount:
        pytest.skip("Mounting takes more rights.")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "words.txt").write_text("sesame")
    (tmp_path / "texts" / "draft.txt.old").write_text("nothing")
    (tmp_path / "jobs").mkdir()
    assert applied.python(
        """
        import json, fal

        @fal.function(
            app_files=["texts"],
            app_files_context_dir="..",
            app_files_ignore=[r"\\.old$"],
            keep_alive=0,
        )
        def tell():
            import os
            with open("../texts/words.txt") as file:
                return [os.getcwd(), file.read(), os.listdir("/app/texts")]

        print("JSON " + json.dumps(tell()))
        """,
        directory=tmp_path / "jobs",
    ) == ["/app/jobs", "sesame", ["words.txt"]]
