"""What an image says of its Python, which may be nobody's friend."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest

from fal_core.errors import EnvironmentBuildError
from fal_core.events import Log
from fal_env_container.engines import Engine
from fal_env_container.images.built_images import BuiltImage
from fal_env_container.running.pythons import ImagePython, find_python, mismatch

IMAGE = BuiltImage(id="abc", name="models:1", platform="linux/amd64")
ANSWER = {
    "version": "3.12.4",
    "abi": "",
    "machine": "x86_64",
    "libc": "glibc 2.36",
    "installed": {"pip": "24.0"},
}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A program that keeps its arguments, and answers ``run`` with the content of a file."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    program = tmp_path / "engine"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f'if [ "$1" = run ]; then . {tmp_path}/answer; fi\n'
    )
    program.chmod(0o755)
    return Engine(
        name="podman",
        program=str(program),
        version="5",
        place="here",
        platform="linux/amd64",
    )


def answer(engine: Engine, text: str) -> None:
    Path(engine.program).with_name("answer").write_text(text)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"version": 3}, {"version": "new"}, {"machine": "a b"}, {"libc": "glibc new"}),
        *({"installed": {"a\n--index-url": "1"}}, {"installed": {"pip": 1}}, {"x": ""}),
        *({"installed": ["pip"]}, {"installed": 1}),
    ],
)
def test_what_is_no_answer_is_an_error(engine: Engine, wrong: dict[str, object]):
    """A program that answers otherwise than a Python does is told, and nothing of it is used."""
    answer(engine, f"echo '{json.dumps({**ANSWER, **wrong})}'")
    with pytest.raises(EnvironmentBuildError, match="Its Python answers"):
        find_python(engine, IMAGE, "python3")
    answer(engine, f"echo '{json.dumps(ANSWER)}'")
    found = find_python(engine, IMAGE, "python3")
    assert (found.glibc, found.installed) == ("2.36", {"pip": "24.0"})


def test_a_container_that_is_not_waited_for_is_removed(engine: Engine):
    """The container of a program that prints without end does not outlive the question."""
    answer(engine, "exec yes")
    told = "Image 'models:1' could not be asked for the version of its Python: .*prints more"
    with pytest.raises(EnvironmentBuildError, match=told):
        find_python(engine, attrs.evolve(IMAGE, id="other"), "python3")
    asked = Path(engine.program).with_name("asked").read_text()
    named = re.findall(r"--name=(\S+)", asked)
    assert len(named) == 1
    assert asked.endswith(f"\nrm --force {named[0]}\n")


def test_what_to_do_about_another_python():
    """
    Whoever names a version can leave it out; whoever sends what runs on no other version can
    send it from that of the image.
    """
    image = BuiltImage(id="1", name="base:1", platform="linux/amd64")
    python = ImagePython(version="3.13.5", abi="", machine="x86_64", libc=None, installed={})
    named = mismatch(image, python, "3.11", is_of_caller=False)
    sent = mismatch(image, python, "3.11", is_of_caller=True)
    assert "and python_version asks for 3.11. Leave python_version out, or take" in str(named)
    assert "and what was sent needs Python 3.11. Send it from Python 3.13, or take" in str(sent)
    assert mismatch(image, python, "3.13", is_of_caller=True) is None


def test_question_is_told_before_it_is_asked(engine: Engine):
    """Who waits for the image is told what the container is started for, the first time alone."""
    lines: list[Log] = []

    def log(line: Log) -> None:
        assert not Path(engine.program).with_name("asked").exists()
        lines.append(line)

    answer(engine, f"echo '{json.dumps(ANSWER)}'")
    image = attrs.evolve(IMAGE, id="told")
    found = find_python(engine, image, "python3", log)
    assert find_python(engine, image, "python3", log) == found
    assert [(line.message, line.source) for line in lines] == [
        ("Starting python3 of the image once, to ask for its version", "BUILDER")
    ]
