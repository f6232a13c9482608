"""
Projects: the released clients deploy a ``pyproject.toml``, with files and requirements of
their machine.

The oldest supported clients deploy one too; with FAL_CORE_FAULTS=all they do the rest.
"""

from __future__ import annotations

import os
import re
import textwrap

import pytest

pytestmark = pytest.mark.faults

FILES = {
    "pyproject.toml": r"""
        [build-system]
        requires = ["flit_core>=3.9,<4"]
        build-backend = "flit_core.buildapi"

        [project]
        name = "stockroom"
        version = "1.2.3"
        description = "A package of this project alone."

        [tool.fal.apps.shop]
        ref = "main.py::Shop"
        auth = "private"
        app_files = ["assets", "words.txt"]
        app_files_ignore = ["\\.secret$"]
        keep_alive = 300
        secrets = ["SHOP_TOKEN"]
        skip_retry_conditions = ["server_error"]

        [tool.fal.apps.entry]
        python_entry_point = "stockroom:Entry"
        auth = "public"
        requirements = [".", "fal"]
        keep_alive = 300

        [tool.fal.apps.boxed]
        auth = "private"
        exposed_port = 8000

        [tool.fal.apps.boxed.image]
        image = "python:3.11"
    """,
    "stockroom/__init__.py": """
        import fal

        class Entry(fal.App):
            machine_type = "XS"

            @fal.endpoint("/")
            def tell(self) -> dict:
                return {"module": __name__}
    """,
    "main.py": """
        import os

        import fal
        from fastapi.responses import JSONResponse

        class Shop(fal.App):
            machine_type = "XS"
            requirements = ["."]

            @fal.endpoint("/")
            def look(self) -> dict:
                from importlib.metadata import version

                with open("words.txt") as file:
                    words = file.read()
                found = [
                    os.path.relpath(os.path.join(folder, name))
                    for folder, _, names in os.walk(".") for name in names
                ]
                return {
                    "files": sorted(found),
                    "words": words,
                    "version": version("stockroom"),
                    "secret": os.environ.get("SHOP_TOKEN"),
                    "pid": os.getpid(),
                }

            @fal.endpoint("/broken")
            def break_down(self) -> JSONResponse:
                return JSONResponse({"detail": "It is broken."}, 503)
    """,
    "words.txt": "open sesame",
    "other.txt": "not named",
    "assets/logo.txt": "logo",
    "assets/deep/er.txt": "deeper",
    "assets/key.secret": "hidden",
}


#: What the oldest supported clients always do.
ALWAYS = "test_application_of_a_project"


@pytest.fixture(autouse=True)
def _chosen(clients, request):
    if clients.version == "newest" or os.environ.get("FAL_CORE_FAULTS") == "all":
        return
    if request.node.originalname != ALWAYS:
        pytest.skip("The oldest clients do this with FAL_CORE_FAULTS=all.")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The directory of a project."""
    folder = tmp_path_factory.mktemp("project")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content).lstrip("\n"))
    return folder


def call(applied, path: str):
    with applied.client() as client:
        answer = client.post(path, json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def shop(applied, project):
    """The path of the application of the project, deployed to an environment of its own."""
    applied.python(
        """
        from fal.api import SyncServerlessClient

        client = SyncServerlessClient()
        client.environments.create("dev")
        client.secrets.set("SHOP_TOKEN", "token of dev", environment_name="dev")
        client.secrets.set("SHOP_TOKEN", "token of main")
        print("JSON true")
        """
    )
    applied.fal("deploy", "shop", "--env", "dev", directory=project)
    return "/owner/shop--dev"


def test_application_of_a_project(applied, shop):
    """
    An application finds the files that its project names, without those that it
    ignores, the project itself as a requirement, and the secrets of its environment.
    """
    found = call(applied, shop)
    found.pop("pid")
    assert found == {
        "files": ["assets/deep/er.txt", "assets/logo.txt", "words.txt"],
        "words": "open sesame",
        "version": "1.2.3",
        "secret": "token of dev",
    }


def test_failures_that_are_not_retried(applied, shop):
    """A project says in which conditions its queued requests are not tried again."""
    told = applied.python(
        f"""
        import json
        import fal_client

        handle = fal_client.submit("{shop.lstrip("/")}/broken", {{}})
        try:
            handle.get()
        except Exception as error:
            print("JSON " + json.dumps([str(error), handle.request_id]))
        """
    )
    assert "It is broken." in told[0]
    with applied.client("FAL_QUEUE_RUN_HOST") as client:
        status = client.get(f"{shop}/requests/{told[1]}/status").json()
    assert status["attempts"] == 1


def test_webhook_of_a_client(applied, shop):
    """A client that submits with a webhook receives the answer there."""
    told, id = applied.python(
        f"""
        import json, threading
        from http.server import BaseHTTPRequestHandler, HTTPServer
        import fal_client

        told = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

        server = HTTPServer(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{{server.server_port}}/"
        handle = fal_client.submit("{shop.lstrip("/")}", {{}}, webhook_url=url)
        server.timeout = 60
        server.handle_request()
        print("JSON " + json.dumps([told[0], handle.request_id]))
        """
    )
    assert (told["status"], told["request_id"]) == ("OK", id)
    assert told["payload"]["version"] == "1.2.3"


def test_rollout_and_revisions(applied, shop, project):
    """A rollout replaces the runners; a revision is listed until it is deleted."""
    before = call(applied, shop)["pid"]
    first, *others = applied.python(
        """
        import json, time
        from fal.api import SyncServerlessClient

        client = SyncServerlessClient()
        (app,) = client.apps.list(environment_name="dev")
        client.apps.rollout("shop", environment_name="dev")
        print("JSON " + json.dumps([app.revision, app.alias, app.auth_mode]))
        """
    )
    assert others == ["shop--dev", "private"]
    applied.fal("deploy", "shop", "--env", "dev", directory=project)
    applied.fal("apps", "delete-rev", first)
    listed = applied.fal("apps", "list-rev", "shop", "--env", "dev")
    (second,) = re.findall(r"\b[0-9a-f]{32}\b", listed)
    assert first != second
    assert call(applied, shop)["pid"] != before


def test_python_entry_point(applied, project):
    """An application that a package of the project names is deployed without being sent."""
    printed = applied.fal("deploy", "entry", directory=project, check=False)
    if "ref key" in printed:
        pytest.skip("These clients know of no entry points.")
    assert call(applied, "/owner/entry") == {"module": "stockroom"}


def test_container_is_refused(applied, project):
    """
    An application that is an image alone is refused at deployment, and so is one in an image
    that cannot be had, or where the server has no containers.
    """
    without = r"no environments of kind\s+'container'"
    printed = applied.fal("deploy", "boxed", directory=project, check=False)
    if "ref key" not in printed:
        sentence = rf"{without}|no\s+image\s+by\s+its\s+own\s+command"
        assert re.search(sentence, printed), printed
    (project / "contained.py").write_text(
        textwrap.dedent(
            """
            import fal

            class Contained(fal.App):
                machine_type = "XS"
                image = fal.ContainerImage.from_dockerfile_str("FROM localhost:1/none:1")

                @fal.endpoint("/")
                def tell(self) -> dict:
                    return {}
            """
        )
    )
    printed = applied.fal("deploy", "contained.py::Contained", directory=project, check=False)
    sentence = rf"{without}|no\s+image\s+'localhost:1/none:1'|no\s+container\s+engine"
    assert re.search(sentence, printed), printed
    with applied.client() as client:
        assert client.post("/owner/boxed").status_code == 404
        assert client.post("/owner/contained").status_code == 404
