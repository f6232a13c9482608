"""Functions in images that are built of a Dockerfile, on the local host."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import EnvironmentBuildError
from fal_env_container import ContainerImage
from fal_testing.harness.processes import wait_until

LocalHost = pytest.importorskip("fal_host_local", reason="fal-host-local is missing").LocalHost


def declare(host: Any, python: str, folder: Path, steps: str = "") -> Any:
    """Return a function that reads a file of its image."""
    image = ContainerImage(
        f"FROM {python}\nCOPY words.txt /words.txt\n{steps}", context_dir=folder
    )

    @function("container", image=image, host=host)
    def read() -> str:
        with open("/words.txt") as stream:
            return stream.read()

    return read


def test_function_runs_in_the_image_that_it_declares(
    python: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """
    The first call builds the image and tells its steps; a later one runs in a new image once
    a file that it copies has changed.
    """
    (tmp_path / "words.txt").write_text("one")
    with closing(LocalHost()) as host:
        read = declare(host, python, tmp_path)
        assert read() == "one"
        assert "COPY words.txt" in capfd.readouterr().err
        assert read() == "one"
        assert "COPY" not in capfd.readouterr().err
        (tmp_path / "words.txt").write_text("two two")
        # Files are looked at from time to time.
        assert wait_until(lambda: read() == "two two", 60)


def test_failed_build_is_the_error_of_the_call(python: str, tmp_path: Path):
    """
    A call whose image cannot be built gets the step and its last lines, and the next call of
    another image works.
    """
    (tmp_path / "words.txt").write_text("one")
    with closing(LocalHost()) as host:
        with pytest.raises(EnvironmentBuildError, match="step 3 of 3"):
            declare(host, python, tmp_path, "RUN echo broken; exit 4\n")()
        assert declare(host, python, tmp_path)() == "one"
