"""Builds of images by a real engine."""

from __future__ import annotations

import threading
from threading import Event

import pytest
from image_builders import ImageBuilder

from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_env_container import Container
from fal_env_container.building import inventory
from fal_env_container.building.keys import find_or_build
from fal_testing.harness.processes import wait_until


def test_image_has_what_its_dockerfile_says(build: ImageBuilder):
    """Files are copied, arguments have their values, and steps are told as the builder's lines."""
    (build.folder / "words.txt").write_text("hello")
    (build.folder / "other.txt").write_text("unused")
    text = "ARG WHO=nobody\nCOPY *.txt /data/\nRUN echo for $WHO > /who && echo done it\n"
    environment = build.declare(text, build_args={"WHO": "me"}, dockerignore=["other.*"])
    assert not environment.is_built()
    image = build(environment)
    assert build.read(image, "cat", "/data/words.txt", "/who") == "hellofor me"
    assert build.read(image, "ls", "/data") == "words.txt"
    assert "done it" in build.messages
    assert "STEP 3/4: COPY *.txt /data/" in build.messages
    assert {line.source for line in build.logs} == {"BUILDER"}
    assert environment.is_built()
    assert build(environment) == image
    assert build.messages == []


def test_image_is_built_again_when_what_it_reads_changes(build: ImageBuilder):
    """
    The key changes with the Dockerfile, its arguments and the files that it copies, and with
    nothing else; steps before the change are taken from the engine's cache.
    """
    (build.folder / "a.txt").write_text("one")
    (build.folder / "b.txt").write_text("one")
    text = "RUN echo slow\nCOPY a.txt /a\n"
    environment = build.declare(text)
    first, key, stamp = build(environment), environment.key, environment.stamp()
    (build.folder / "b.txt").write_text("two")
    assert (environment.key, environment.stamp()) == (key, stamp)
    assert environment.is_built()
    (build.folder / "a.txt").write_text("two")
    assert environment.key != key
    assert environment.stamp() != stamp
    assert not environment.is_built()
    second = build(environment)
    assert second.id != first.id
    assert "slow" not in build.messages
    assert build.read(second, "cat", "/a") == "two"
    keys = {
        environment.key,
        build.declare(text, build_args={"A": "1"}).key,
        build.declare(f"{text}RUN true\n").key,
    }
    assert len(keys) == 3


def test_image_is_of_the_files_that_were_copied(build: ImageBuilder):
    """A file that changes after a build has begun is not taken for the one that was built."""
    (build.folder / "a.txt").write_text("one")
    environment = build.declare("RUN echo begun\nCOPY a.txt /a\n")

    def change(line: Log) -> None:
        if line.message == "begun":
            (build.folder / "a.txt").write_text("two two")

    _, image = find_or_build(environment.request, change, Event())
    assert build.read(image, "cat", "/a") == "one"
    assert not environment.is_built()
    assert build.read(build(environment), "cat", "/a") == "two two"


def test_image_is_built_again_on_another_base(build: ImageBuilder):
    """An image is built again once the name of its base leads to another image."""
    base = "localhost/tests/base:1"
    build.engine.run("tag", build.base, base)
    environment = build.declare(f"FROM {base}\nRUN echo hello > /x\n")
    first = build(environment)
    other = build(build.declare("RUN echo other > /y\n"))
    build.engine.run("tag", other.id, base)
    inventory._seen.clear()
    assert not environment.is_built()
    second = build(environment)
    assert second.id != first.id
    assert build.read(second, "cat", "/y") == "other"


def test_what_a_base_leaves_to_builds_on_it_counts(build: ImageBuilder):
    """The files that an ONBUILD of the base copies are seen, and are part of the key."""
    base = build(build.declare("ONBUILD COPY data.txt /data/\nONBUILD RUN cat /data/*\n"))
    build.engine.run("tag", base.id, "localhost/tests/triggers:1")
    (build.folder / "data.txt").write_text("one")
    (build.folder / "other.txt").write_text("one")
    environment = build.declare("FROM localhost/tests/triggers:1\nRUN true\n")
    first, key, stamp = build(environment), environment.key, environment.stamp()
    assert build.read(first, "ls", "/data") == "data.txt"
    (build.folder / "other.txt").write_text("two")
    assert (environment.key, environment.stamp()) == (key, stamp)
    assert environment.is_built()
    (build.folder / "data.txt").write_text("two")
    assert environment.key != key
    assert environment.stamp() != stamp
    assert not environment.is_built()
    second = build(environment)
    assert build.read(second, "cat", "/data/data.txt") == "two"
    # It has run, and an image that stands on this one does not run it again.
    build.engine.run("tag", second.id, "localhost/tests/triggered:1")
    (build.folder / "data.txt").unlink()
    third = build(build.declare("FROM localhost/tests/triggered:1\nRUN true\n"))
    assert build.read(third, "cat", "/data/data.txt") == "two"


def test_failed_step_is_named_with_its_last_lines(build: ImageBuilder):
    """The error of a build has the step, the reason and what the step has printed last."""
    text = "RUN echo first step\nRUN echo not found: numpi; exit 7\nRUN echo never\n"
    with pytest.raises(EnvironmentBuildError) as caught:
        build(build.declare(text))
    sentence, *lines = str(caught.value).splitlines()
    assert "step 3 of 4" in sentence
    assert "exit 7" in sentence
    assert sentence.endswith("exit status 7.")
    assert [line.strip() for line in lines] == ["not found: numpi"]
    assert build.engine.containers() == set()


def test_missing_sources_fail_before_the_build(build: ImageBuilder):
    """What is not there, or is left out by a line of the .dockerignore, is told before a build."""
    with pytest.raises(EnvironmentBuildError, match=r"copies 'absent\.txt'\. There is no"):
        build(build.declare("COPY absent.txt /x\n"))
    (build.folder / "README.md").write_text("x")
    with pytest.raises(EnvironmentBuildError, match=r"left out by the line '\*\*/\*\.md'"):
        build(build.declare("COPY README.md /x\n"))


def test_unknown_images_are_told(build: ImageBuilder):
    """A base that nobody has is one sentence with the engine's reason."""
    name = "localhost:1/nobody/has:this"
    with pytest.raises(EnvironmentBuildError) as caught:
        build(build.declare(f"FROM {name}\n"))
    [sentence] = str(caught.value).splitlines()
    assert f"There is no image {name!r} here, and podman cannot pull it: " in sentence
    assert f"Pulling the image {name}" in build.messages


def test_wrong_instructions_are_told(build: ImageBuilder):
    """What the engine refuses of a Dockerfile is in the error."""
    with pytest.raises(EnvironmentBuildError, match="NONSENSE"):
        build(build.declare("HEALTHCHECK NONSENSE\n"))


def test_images_by_name_are_found(build: ImageBuilder):
    """An image that the engine has is taken as it is."""
    environment = Container(image=build.base)
    assert environment.is_built()
    assert build(environment).name == build.base
    assert build.messages == []


def test_one_of_two_builds(build: ImageBuilder):
    """Of two builds of an image at one time, one builds and the other waits for it."""
    environment = build.declare("RUN echo working; sleep 0.5\n")
    logs: list[list[Log]] = [[], []]
    images: list[str] = []

    def run(log: list[Log]) -> None:
        images.append(find_or_build(environment.request, log.append, Event())[1].id)

    threads = [threading.Thread(target=run, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert images[0] == images[1]
    messages = sorted([line.message for line in log] for log in logs)
    assert ["Waiting for another build of this image"] in messages
    assert sum("working" in each for each in messages) == 1


def test_cancelled_build_leaves_nothing(build: ImageBuilder):
    """A build that is cancelled leaves no container, no layer and no file, and the next works."""
    before = build.state
    environment = build.declare("RUN echo layer > /layer\nRUN echo begun; sleep 600\n")
    cancelled = Event()
    logs: list[Log] = []

    def log(line: Log) -> None:
        logs.append(line)
        if line.message == "begun":
            cancelled.set()

    with pytest.raises(Cancelled):
        find_or_build(environment.request, log, cancelled)
    assert build.state == before
    build(build.declare("RUN echo layer > /layer\n"))


def test_cancelled_while_waiting(build: ImageBuilder):
    """Who waits for the build of another stops waiting when cancelled; the build goes on."""
    environment = build.declare("RUN echo begun; sleep 1\n")
    begun, waits, cancelled = Event(), Event(), Event()
    images: list[str] = []

    def run() -> None:
        def log(line: Log) -> None:
            if line.message == "begun":
                begun.set()

        images.append(find_or_build(environment.request, log, Event())[1].id)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)

    def wait_once(line: Log) -> None:
        waits.set()
        cancelled.set()

    with pytest.raises(Cancelled):
        find_or_build(environment.request, wait_once, cancelled)
    assert waits.is_set()
    thread.join()
    assert images
    assert wait_until(environment.is_built, 60)


def test_forced_build_is_made_once(build: ImageBuilder):
    """
    With ``force`` an image is built anew once in a process, without the engine's cache. That
    its base is the one of this machine, since no registry has it, is told.
    """
    environment = build.declare("RUN echo ran\n")
    build(environment)
    forced = build.declare("RUN echo ran\n", force=True)
    assert not forced.is_built()
    build(forced)
    assert "ran" in build.messages
    told = f"Using the image {build.base} that is here, which cannot be pulled: "
    assert any(line.startswith(told) for line in build.messages)
    assert forced.is_built()
    build(forced)
    assert build.messages == []
