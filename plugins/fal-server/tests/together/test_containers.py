"""Functions and applications of the released clients in containers."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import BASE

pytestmark = pytest.mark.faults

APP = f"""
import os
import fal
from fal import ContainerImage
from pydantic import BaseModel

class Input(BaseModel):
    n: int = 1

class Boxed(fal.App, keep_alive=300, max_concurrency=1):
    machine_type = "XS"
    image = ContainerImage.from_dockerfile_str(
        "FROM {BASE}\\nARG WORD=none\\nRUN echo $WORD > /made\\n",
        build_args={{"WORD": "a word"}},
    )
    requirements = ["six==1.16.0"]

    def setup(self):
        print("setting up")

    @fal.endpoint("/")
    def tell(self, input: Input) -> dict:
        import six

        print("asked for", input.n)
        made, host = open("/made").read().strip(), os.uname().nodename
        return {{"n": input.n, "made": made, "six": six.__version__, "host": host}}

    @fal.realtime("/realtime")
    def double(self, input: Input) -> Input:
        return Input(n=2 * input.n)
"""


@pytest.fixture(scope="module")
def boxing(engine: Any, make_applied: Callable[..., Any]) -> Any:
    """A server for the released clients whose machine has an engine."""
    return make_applied()


@pytest.mark.usefixtures("newest_clients")
def test_function_in_an_image(boxing: Any, engine: Any):
    """
    A function runs in a container of the image that its client has described, sees the data
    of its account and nothing else of the machine, and speaks to the server. What the builder
    and the function print reaches the client.
    """
    found, printed = boxing.python_and_output(
        f"""
        import json, fal
        from fal import ContainerImage

        @fal.function(
            kind="container",
            image=ContainerImage.from_dockerfile_str("FROM {BASE}\\nRUN echo hello > /made"),
            machine_type="XS",
            keep_alive=0,
        )
        def look(folder):
            import os, socket

            print("looking")
            open("/data/kept", "w").write("kept")
            host, _, port = os.environ["FAL_GRPC_HOST"].partition(":")
            socket.create_connection((host, int(port)), 30).close()
            seen = os.path.exists(folder)
            return open("/made").read(), seen, os.path.isfile(os.environ["SSL_CERT_FILE"])

        print("JSON " + json.dumps(look({str(boxing.data / "state.db")!r})))
        """
    )
    assert found == ["hello\n", False, True]
    assert "looking" in printed
    if "Building environment" in printed:
        # Older clients leave out what is built for a call.
        assert "RUN echo hello" in printed
    kept = [*(boxing.data / "accounts").rglob("kept")]
    assert [each.read_text() for each in kept] == ["kept"]


@pytest.mark.usefixtures("newest_clients")
def test_application_in_an_image(boxing: Any, engine: Any, settle: Any):
    """
    An application is served from a container, with its requirements beside the image: run,
    queue and realtime. Its lines are kept. It goes on where its server is killed, and its
    container is gone once the runner is killed.
    """
    file, word = write_application(boxing, "boxed")
    built = boxing.fal("deploy", f"{file}::Boxed", "--app-name", "boxed")
    assert "RUN echo $WORD" in built
    answer = ask(boxing)
    assert (answer["made"], answer["six"]) == (word, "1.16.0")
    queued, doubled = boxing.python(
        """
        import json
        from fal import apps

        queued = apps.submit("owner/boxed", arguments={"n": 4}).get()
        with apps._connect("owner/boxed") as connection:
            doubled = connection.run({"n": 5})
        print("JSON " + json.dumps([queued, doubled]))
        """
    )
    assert (queued["n"], doubled) == (4, {"n": 10})
    boxing.program.process.kill()
    boxing.program.end()
    boxing.start()
    assert ask(boxing)["host"] == answer["host"]
    (runner,) = json.loads(boxing.fal("apps", "runners", "boxed", "--json").splitlines()[-1])[
        "runners"
    ]
    settle(lambda: "asked for 4" in boxing.fal("runners", "logs", runner["runner_id"]))
    before = engine.containers()
    assert before
    boxing.fal("runners", "kill", runner["runner_id"])
    settle(lambda: not before & engine.containers())
    assert ask(boxing)["host"] != answer["host"]
    boxing.fal("apps", "delete", "boxed")
    settle(lambda: not engine.containers())


@pytest.mark.usefixtures("newest_clients")
def test_application_of_a_run_in_an_image(boxing: Any, engine: Any, settle: Any):
    """An application that lives as long as a run is served from a container, which ends with it."""
    _, word = write_application(boxing, "ephemeral")
    answer = boxing.python(
        f"""
        import json, sys
        sys.path.insert(0, {str(boxing.data.parent)!r})
        from ephemeral import Boxed
        from fal.app import AppClient

        with AppClient.connect(Boxed) as client:
            print("JSON " + json.dumps(client.tell({{"n": 4}})))
        """
    )
    assert (answer["n"], answer["made"]) == (4, word)
    settle(lambda: not engine.containers())


@pytest.mark.usefixtures("newest_clients")
def test_images_that_cannot_be_had(boxing: Any):
    """
    The client is told in a sentence which image there is not, which step has failed, and what
    an image may not ask for.
    """
    told = boxing.python(
        f"""
        import json, fal
        from fal import ContainerImage

        def error_of(text, **options):
            image = ContainerImage.from_dockerfile_str(text, **options)

            @fal.function(kind="container", image=image, machine_type="XS", keep_alive=0)
            def never():
                pass

            try:
                never()
            except Exception as error:
                return str(error)

        print("JSON " + json.dumps([
            error_of("FROM localhost:1/none:1"),
            error_of("FROM {BASE}\\nRUN echo about to fail && exit 7"),
            error_of("RUN true"),
            error_of("FROM {BASE}\\nCOPY words.txt /"),
            error_of("FROM {BASE}\\nCOPY ../engine.log /"),
            error_of("FROM oci-archive:/etc/image.tar"),
            error_of("FROM {BASE}\\nRUN --network=host true"),
            error_of("FROM {BASE}\\nRUN --mount=type=ssh true"),
        ]))
        """
    )
    missing, failed, empty, copies, outside, archive, network, mount = told
    assert "no image 'localhost:1/none:1'" in missing
    assert "RUN echo about to fail && exit 7" in failed
    assert "has no FROM" in empty
    assert "no words.txt among the files that were sent" in copies
    assert "not allowed" in outside or "among the files that were sent" in outside
    assert "(oci-archive)" in archive
    assert "--network=host" in network
    assert "'ssh'" in mount
    assert not [each for each in told if "Traceback" in each]


def write_application(boxing: Any, name: str) -> tuple[Path, str]:
    """
    Write the module *name*, and return its file, and the word that is in its image: each of
    the clients has the image built.
    """
    word = f"boxed-by-{boxing.clients.version}"
    file: Path = boxing.data.parent / f"{name}.py"
    file.write_text(textwrap.dedent(APP).replace("a word", word))
    return file, word


def ask(boxing: Any) -> Any:
    with boxing.client() as client:
        answer = client.post("/owner/boxed/", json={"n": 3})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("newest_clients")
def test_function_of_this_framework(
    boxing: Any, tmp_path: Path, run_program: Callable[..., str]
):
    """A function of fal-core runs on the server in a container, and learns why it cannot."""
    pytest.importorskip("fal_host_serverless", reason="fal-host-serverless is not installed")
    file = tmp_path / "boxing.py"
    file.write_text(
        textwrap.dedent(
            f"""
            from fal_core import EnvironmentBuildError, function

            @function("container", image="{BASE}", host="serverless", keep_alive=0)
            def look():
                import os

                print("looking")
                return os.environ["container"]

            @function("container", image="localhost:1/none:1", host="serverless", keep_alive=0)
            def never(): ...

            print(look())
            try:
                never()
            except EnvironmentBuildError as error:
                print(error)
            """
        )
    )
    printed = run_program(file, boxing.variables)
    assert "looking" in printed
    assert "podman" in printed
    assert "no image 'localhost:1/none:1'" in printed
