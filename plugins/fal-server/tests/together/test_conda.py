"""Functions and applications of clients in conda environments."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """
    The URL of a channel with a Python and the package ``words``, which clients and server
    reach.
    """
    testing = pytest.importorskip("fal_env_conda.testing", reason="fal-env-conda is missing")
    try:
        python = testing.package_python()
    except LookupError as error:
        pytest.skip(str(error))
    words = testing.CondaPackage(
        name="words",
        version="1.0",
        build="py_0",
        depends=("python >=3.10",),
        files={"site-packages/words.py": b"greeting = 'good day'\n"},
        any_python=True,
    )
    folder = tmp_path_factory.mktemp("channel")
    testing.make_channel(folder, [python, words])
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the environments of this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAL_CORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def solving(own_cache: None, channel: str, make_applied: Callable[..., Any]) -> Any:
    """A server for the released clients, whose environments are its own."""
    return make_applied()


@pytest.mark.usefixtures("newest_clients")
def test_function_in_a_conda_environment(solving: Any, channel: str):
    """
    A function runs in the environment that its packages make, or its ``env_yml_str``, with
    pip requirements of its own beside them.
    """
    text = f"channels: [{channel}]\ndependencies: [words, {{pip: [six==1.16.0]}}]\n"
    found = solving.python(
        f"""
        import json, fal

        def look():
            import sys, words
            print("looking")
            return words.greeting, sys.prefix

        def look_further():
            import six
            return look(), six.__version__

        options = dict(kind="conda", machine_type="XS", keep_alive=0)
        one = fal.function(packages=["words"], channels=[{channel!r}], **options)(look)
        other = fal.function(env_yml_str={text!r}, **options)(look_further)
        print("JSON " + json.dumps([one(), other()]))
        """
    )
    (one, prefix), ((other, _), version) = found
    assert (one, other, version) == ("good day", "good day", "1.16.0")
    assert Path(prefix).parent.name == "conda"


@pytest.mark.usefixtures("newest_clients")
def test_application_in_a_conda_environment(solving: Any, channel: str):
    """
    A served function is deployed in a conda environment, where its requirements are pip's, and
    its client sees what is solved and installed. Released clients refuse a class of that kind.
    """
    file = solving.data.parent / "worded.py"
    file.write_text(
        textwrap.dedent(
            f"""
            import fal

            @fal.function(
                kind="conda",
                packages=["words"],
                channels=[{channel!r}],
                machine_type="XS",
                keep_alive=0,
                serve=True,
            )
            def greet() -> dict:
                import words

                return {{"greeting": words.greeting}}
            """
        )
    )
    printed = solving.fal("deploy", f"{file}::greet", "--app-name", "worded")
    assert "+ fastapi==" in printed
    with solving.client() as client:
        answer = client.post("/owner/worded/", json={})
    assert answer.json() == {"greeting": "good day"}


@pytest.mark.usefixtures("newest_clients")
def test_environments_that_cannot_be(solving: Any, channel: str):
    """
    What cannot be solved is an error with the whole reason, and so are a file that is no YAML
    and options that contradict each other.
    """
    told = solving.python(
        f"""
        import json, fal

        def error_of(**options):
            @fal.function(kind="conda", machine_type="XS", keep_alive=0, **options)
            def never():
                pass

            try:
                never()
            except Exception as error:
                return str(error)

        print("JSON " + json.dumps([
            error_of(packages=["nothing-of-ours"], channels=[{channel!r}]),
            error_of(packages=["words>=2"], channels=[{channel!r}]),
            error_of(env_yml_str="dependencies: ["),
            error_of(env_yml_str="dependencies: 7"),
            error_of(packages=["words"], env_yml_str="dependencies: [words]"),
        ]))
        """
    )
    none, newer, broken, wrong, both = told
    assert "No candidates were found for nothing-of-ours" in none
    assert "words >=2" in newer
    assert "Option 'env_yml_str' is not YAML" in broken
    assert "dependencies" in wrong
    assert "both say which packages there are" in both
    assert not [each for each in told if "Traceback" in each]


@pytest.mark.usefixtures("newest_clients")
def test_function_of_this_framework(
    solving: Any, channel: str, tmp_path: Path, run_program: Callable[..., str]
):
    """
    A function of fal-core runs on the server in a conda environment; an error of the build says
    its reason once.
    """
    pytest.importorskip("fal_host_serverless", reason="fal-host-serverless is not installed")
    file = tmp_path / "wording.py"
    file.write_text(
        textwrap.dedent(
            f"""
            from fal_core import EnvironmentBuildError, function

            options = dict(host="serverless", keep_alive=0, channels=[{channel!r}])

            @function("conda", packages=["words"], **options)
            def greet():
                import words
                return words.greeting

            @function("conda", packages=["nothing-of-ours"], **options)
            def never(): ...

            print(greet())
            try:
                never()
            except EnvironmentBuildError as error:
                print("TOLD", error, "ENDS")
            """
        )
    )
    printed = run_program(file, solving.variables)
    assert "good day" in printed
    told = printed.partition("TOLD ")[2].partition("ENDS")[0]
    assert told.count("No candidates were found for nothing-of-ours") == 1
