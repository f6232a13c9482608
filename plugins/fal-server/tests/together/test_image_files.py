"""Files of released clients that the Dockerfiles of their images copy."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import BASE

pytestmark = pytest.mark.faults

#: The image of the project in a directory.
IMAGE = f"""
from pathlib import Path

from fal import ContainerImage

image = ContainerImage.from_dockerfile_str(
    "FROM {BASE}\\nWORKDIR /srv\\nCOPY . /srv\\nCOPY --chmod=0700 data/words.txt tool.sh /own/",
    context_dir=Path(__file__).parent,
)
"""

APP = f"""
import fal
from pydantic import BaseModel
{IMAGE}

class Input(BaseModel):
    folder: str

class Copied(fal.App, keep_alive=300, max_concurrency=1):
    machine_type = "XS"
    image = image

    @fal.endpoint("/")
    def tell(self, input: Input) -> dict:
        from pathlib import Path

        from helping import help

        found = sorted(str(each) for each in Path(input.folder).rglob("*") if each.is_file())
        return {{"found": found, "words": Path("data/words.txt").read_text(), "help": help()}}
"""


@pytest.fixture(scope="module")
def boxing(engine: Any, make_applied: Callable[..., Any]) -> Any:
    """A server for the released clients whose machine has an engine."""
    return make_applied("--most-image-files", "20")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of a client, with files that are not to be sent."""
    written = {
        "data/words.txt": "hello",
        "data/secret.env": "hidden",
        "tool.sh": "#!/bin/sh\necho tool\n",
        "helping.py": "def help():\n    return 'helped'\n",
        "logs/old.log": "hidden",
        ".dockerignore": "# not these\n*.env\nlogs\n*.pyc\n__pycache__\n",
    }
    for name, content in written.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (tmp_path / "project" / "tool.sh").chmod(0o755)
    return tmp_path / "project"


def test_function_whose_image_copies_files(boxing: Any, project: Path):
    """
    An image has the files of the client's context that its .dockerignore does not leave out,
    with their modes, and no others. It is built anew where one of them has changed.
    """
    code = f"""
        import json, sys
        sys.path.insert(0, {str(project)!r})
        from imaging import image
        import fal

        @fal.function(kind="container", image=image, machine_type="XS", keep_alive=0)
        def look():
            import os, subprocess
            from pathlib import Path
            from helping import help

            # Without what Python has compiled.
            found = sorted(str(each) for each in Path("/srv").rglob("*") if each.is_file())
            found = [each for each in found if "__pycache__" not in each]
            mode = oct(os.stat("/own/words.txt").st_mode & 0o777)
            told = subprocess.run(["/srv/tool.sh"], capture_output=True, text=True).stdout
            return found, mode, told, help(), Path("/own/words.txt").read_text()

        print("JSON " + json.dumps(look()))
        """
    (project / "imaging.py").write_text(IMAGE)
    found, mode, told, helped, words = boxing.python(code)
    names = [".dockerignore", "data/words.txt", "helping.py", "imaging.py", "tool.sh"]
    assert found == [f"/srv/{name}" for name in names]
    assert (mode, told, helped, words) == ("0o700", "tool\n", "helped", "hello")
    (project / "data" / "words.txt").write_text("changed")
    assert boxing.python(code)[-1] == "changed"


@pytest.mark.usefixtures("newest_clients")
def test_application_whose_image_copies_files(
    boxing: Any, engine: Any, project: Path, settle: Any
):
    """
    An application finds the files in its working directory. A runner that is started after a
    server was killed, and the directory that its image was built of is gone, has them too.
    """
    (project / "copied.py").write_text(APP)
    boxing.fal("deploy", "copied.py::Copied", "--app-name", "copied", directory=project)
    answer = ask(boxing)
    assert (answer["words"], answer["help"]) == ("hello", "helped")
    assert "/srv/data/secret.env" not in answer["found"]
    assert "/srv/data/words.txt" in answer["found"]
    boxing.program.process.kill()
    boxing.program.end()
    for folder in (boxing.data / "contexts").glob("*/*"):
        folder.rename(boxing.data.parent / folder.name)
    boxing.start()
    (runner,) = json.loads(boxing.fal("apps", "runners", "copied", "--json").splitlines()[-1])[
        "runners"
    ]
    before = engine.containers()
    boxing.fal("runners", "kill", runner["runner_id"])
    settle(lambda: not before & engine.containers())
    assert ask(boxing) == answer
    boxing.fal("apps", "delete", "copied")
    settle(lambda: not engine.containers())


def test_command_that_runs_a_function_in_an_image(boxing: Any, project: Path):
    """
    The command ``fal run`` builds an image of the files of a project, and prints what the
    builder and the function print.
    """
    words = f"hello from {project}"  # Not what the other clients have built.
    (project / "data" / "words.txt").write_text(words)
    (project / "running.py").write_text(
        f"import fal\n{IMAGE}"
        + textwrap.dedent(
            """
            @fal.function(kind="container", image=image, machine_type="XS", keep_alive=0)
            def look():
                print("found", open("/own/words.txt").read())
            """
        )
    )
    printed = boxing.fal("run", "running.py::look", directory=project)
    assert "COPY . /srv" in printed
    assert f"found {words}" in printed


@pytest.mark.usefixtures("newest_clients")
def test_files_that_are_refused(boxing: Any, project: Path):
    """
    Too many files, and files that were left out or are not there, are errors with a sentence
    of what to do. ``app_files`` do not go with an image: the client says so itself.
    """
    (project / "imaging.py").write_text(IMAGE)
    for number in range(20):
        (project / f"more{number}").touch()
    many, ignored, missing, app_files = boxing.python(
        f"""
        import json, sys
        sys.path.insert(0, {str(project)!r})
        from imaging import image as many
        from fal import ContainerImage
        import fal

        def error_of(image, **options):
            if isinstance(image, str):
                text = "FROM {BASE}\\nCOPY " + image
                image = ContainerImage.from_dockerfile_str(text, context_dir={str(project)!r})
            try:

                @fal.function(
                    kind="container", image=image, machine_type="XS", keep_alive=0, **options
                )
                def never():
                    pass

                never()
            except Exception as error:
                return str(error)

        print("JSON " + json.dumps([
            error_of(many),
            error_of("data/secret.env /"),
            error_of("none.txt /"),
            error_of("tool.sh /", app_files=["tool.sh"]),
        ]))
        """
    )
    assert "copies 24 files, and may copy 20" in many or "copies 25 files" in many
    assert "no data/secret.env among the files that were sent" in ignored
    assert "no none.txt among the files that were sent" in missing
    assert "app_files is not supported" in app_files


def ask(boxing: Any) -> Any:
    with boxing.client() as client:
        answer = client.post("/owner/copied/", json={"folder": "/srv"})
    assert answer.status_code == 200, answer.text
    return answer.json()
