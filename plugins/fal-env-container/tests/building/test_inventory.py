"""Images by name, as engines answer for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
from local_engines import LocalEngine

from fal_core.errors import EnvironmentBuildError
from fal_env_container.building import inventory
from fal_env_container.engines import Engine
from fal_env_container.finding import find_engine
from fal_testing.harness.processes import wait_until

_PROGRAM = """#!/bin/sh
echo '{said}' >&2
exit 125
"""


def engine_that_says(folder: Path, said: str) -> Engine:
    """Return an engine that answers no question, and says why."""
    program = folder / "podman"
    program.write_text(_PROGRAM.format(said=said))
    program.chmod(0o755)
    return Engine(
        name="podman",
        program=str(program),
        version="5.4.2",
        place="here",
        platform="linux/amd64",
    )


@pytest.mark.parametrize(
    "said",
    [
        "Error: models:1: image not known",
        "Error response from daemon: No such image: models:1",
        "Error: no such object: models:1",
        "1 errors: models:1: not found",
    ],
)
def test_an_engine_that_lacks_an_image_says_so(tmp_path: Path, said: str):
    """It is to be pulled then, in the words of each engine."""
    assert inventory.find_image(engine_that_says(tmp_path, said), "models:1") is None


def test_an_engine_that_fails_is_not_taken_to_lack_the_image(tmp_path: Path):
    """What it says is the error, and nothing is pulled."""
    engine = engine_that_says(tmp_path, "Error: database is locked")
    with pytest.raises(EnvironmentBuildError, match=r"has models:1: database is locked\.$"):
        inventory.find_image(engine, "models:1")


_SLOW = """#!/bin/sh
case "$*" in
    *other*) touch '{folder}/asked'; while [ ! -e '{folder}/go' ]; do sleep 0.01; done;;
esac
exec podman "$@"
"""


def test_an_image_may_be_forgotten_while_others_are_asked_for(
    engine: LocalEngine, tiny: str, tmp_path: Path
):
    """What one thread knows is no question of what another is told to forget."""
    other = "localhost/tests/other:1"
    engine.run("tag", tiny, other)
    program = tmp_path / "podman"
    program.write_text(_SLOW.format(folder=tmp_path))
    program.chmod(0o755)
    slow = attrs.evolve(find_engine(), program=str(program))
    known = inventory.find_image(slow, tiny)
    assert known is not None
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(inventory.find_images, slow, [tiny, other])
        assert wait_until((tmp_path / "asked").exists, 60)
        inventory.forget(slow, tiny)
        (tmp_path / "go").touch()
        found = asking.result(60)
    assert [each and each.id for each in found.values()] == [known.id, known.id]
