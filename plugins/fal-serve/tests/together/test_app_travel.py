"""Applications travel to where they are served, wherever they are defined."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import MappingProxyType

import cloudpickle
import pytest

from fal_serve import App

MODELS = """
    from pydantic import BaseModel

    class Answer(BaseModel):
        total: int
"""

BASE = """
    from __future__ import annotations

    from pydantic import BaseModel

    from fal_serve import App, endpoint

    class Numbers(BaseModel):
        numbers: list[int]

    class Summing(App, kind="{kind}", max_multiplexing=4):
        start = 0

        def setup(self):
            self.offset = self.start

        @endpoint("/sum")
        def sum(self, numbers: Numbers) -> dict[str, int]:
            return {{"total": sum(numbers.numbers) + self.offset}}
"""

APP = """
    from __future__ import annotations

    from collections.abc import Iterator

    from pydantic import BaseModel

    from fal_serve import endpoint
    from {package}base import Summing
    from {package}models import Answer

    class Question(BaseModel):
        text: str

    class Asking(Summing, keep_alive=5, {options}):
        start = 10

        @endpoint("/length")
        def length(self, question: Question) -> Answer:
            return Answer(total=len(question.text))

        @endpoint("/letters")
        def letters(self, question: Question) -> Iterator[Answer]:
            for letter in question.text:
                yield Answer(total=ord(letter))

        @endpoint("/options")
        def options(self) -> list[str]:
            import sys

            return [type(self).app_name, str(self.host_kwargs), str("fal_core" in sys.modules)]
"""

MAIN = """
    import httpx

    {import_}

    if __name__ == "__main__":
        info = Asking.spawn()
        try:
            info.wait(startup_timeout=240)
            with httpx.Client(base_url=info.url, timeout=30) as client:
                for path, body in (
                    ("/sum", {{"numbers": [1, 2]}}),
                    ("/length", {{"text": "four"}}),
                    ("/letters", {{"text": "ab"}}),
                    ("/options", None),
                ):
                    print(client.post(path, json=body).text.strip())
            print(info.application == "", info.future.done())
        finally:
            info.cancel()
        print(type(info.future.exception(30)).__name__)
"""


def run(folder: Path, *arguments: str) -> list[str]:
    """Run a program in a process of its own, and return its printed lines."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    return [line for line in ended.stdout.splitlines() if line]


def write(folder: Path, *, kind: str = "current", package: str = "", options: str = "") -> None:
    """Write the modules of an application into *folder*."""
    folder.mkdir(exist_ok=True)
    prefix = f"{package}." if package else ""
    (folder / "models.py").write_text(textwrap.dedent(MODELS))
    (folder / "base.py").write_text(textwrap.dedent(BASE).format(kind=kind))
    app = textwrap.dedent(APP).format(package=prefix, options=options)
    (folder / "app.py").write_text(app)


EXPECTED = [
    '{"total":13}',
    '{"total":4}',
    'data: {"total":97}',
    'data: {"total":98}',
]


def check(lines: list[str], *, current: bool = True) -> None:
    """Check what the program printed about the application."""
    assert lines[:4] == EXPECTED
    # Options have been used, and stay behind.
    assert lines[4].startswith('["asking","{}"'), lines[4]
    if not current:
        assert lines[4].endswith('"False"]')
    assert lines[5:] == ["True False", "Cancelled"]


def test_application_of_a_program(tmp_path: Path):
    """A class in the program itself travels, with its base classes and models."""
    write(tmp_path)
    source = (tmp_path / "app.py").read_text() + textwrap.dedent(MAIN).format(import_="")
    (tmp_path / "program.py").write_text(source)
    check(run(tmp_path, "program.py"))


def test_application_of_a_module(tmp_path: Path):
    """So does a class in a module beside the program."""
    write(tmp_path)
    main = textwrap.dedent(MAIN).format(import_="from app import Asking")
    (tmp_path / "program.py").write_text(main)
    check(run(tmp_path, "program.py"))


def test_application_of_a_package(tmp_path: Path):
    """So does a class in a package, with the other modules it imports."""
    write(tmp_path / "asked", package="asked")
    (tmp_path / "asked" / "__init__.py").write_text("")
    main = textwrap.dedent(MAIN).format(import_="from asked.app import Asking")
    (tmp_path / "asked" / "__main__.py").write_text(main)
    check(run(tmp_path, "-m", "asked"))


@pytest.mark.timeout(300)
def test_application_in_an_environment_of_its_own(tmp_path: Path):
    """An environment gets the requirements of serving, without fal_core."""
    write(tmp_path, kind="virtualenv", options='image=None, requirements=["idna"]')
    app = tmp_path / "app.py"
    app.write_text(
        app.read_text().replace("import sys\n", "import sys\n\n        import idna\n")
    )
    main = textwrap.dedent(MAIN).format(import_="from app import Asking")
    (tmp_path / "program.py").write_text(main)
    check(run(tmp_path, "program.py"), current=False)


def test_options_stay_where_the_application_is_launched():
    """A value that exists only at the launching side does not travel with the class."""

    lock = threading.Lock()

    def prepare() -> None:
        lock.acquire()

    class Prepared(App, kind="current", setup_function=prepare):
        retry_config = MappingProxyType({"timeout": {"retries": 1}})

    assert set(Prepared.host_kwargs) == {"kind", "setup_function", "retry_config"}
    assert Prepared.retry_config["timeout"] == {"retries": 1}

    # This process knows the class already, and opening would give it back as it is.
    program = "import pickle, sys; c = pickle.load(sys.stdin.buffer); print("
    program += "c.host_kwargs, c.retry_config, c.app_name, c().health())"
    sealed = cloudpickle.dumps(Prepared)
    opened = subprocess.run(
        [sys.executable, "-c", program], input=sealed, capture_output=True, check=True
    )
    assert opened.stdout.decode().split() == [
        "{}",
        "None",
        "prepared",
        "{'version':",
        "'unknown'}",
    ]


def test_run_local_serves_in_this_process(tmp_path: Path):
    """run_local serves without an environment, prints the URL, and ends when interrupted."""
    write(tmp_path)
    source = """
        import signal
        import subprocess
        import sys

        served = subprocess.Popen(
            [sys.executable, "-c", "from app import Asking; Asking.run_local("
             "exposed_port=0, exposed_metrics_port=0)"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        try:
            import httpx

            for line in served.stderr:
                if line.startswith("run: "):
                    break
            url = line.split()[1]
            print(httpx.post(url + "/length", json={"text": "four"}, timeout=30).text)
        finally:
            served.send_signal(signal.SIGINT)
            served.stderr.read()
            print(served.wait(30))
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(source))
    lines = run(tmp_path, "program.py")
    assert '{"total":4}' in lines
    assert lines[-1] == "0"
