"""What the ends of engines' commands become."""

from __future__ import annotations

import re

import attrs
import pytest

from fal_env_container.engines import Engine
from fal_env_container.images.built_images import REPOSITORY, BuiltImage
from fal_env_container.running.endings import explain

PODMAN = Engine(
    name="podman",
    program="/nowhere/podman",
    version="5.4.2",
    place="here",
    platform="linux/amd64",
)
IMAGE = BuiltImage(id="abc", name="models:1", platform="linux/amd64")


@pytest.mark.parametrize(
    ("code", "said", "sentence"),
    [
        (127, "Error: runc: exec: executable file `python3` not found in $PATH", "no Python"),
        (
            127,
            "Error: netavark: unable to execute nft: No such file or directory (os error 2)",
            "made no container of image .*: netavark: unable to execute nft",
        ),
        (1, "ERROR (catatonit:6): failed to exec pid1: No such file or directory", "no Python"),
        (126, "Error: runc: cannot run it: exec format error", "podman can run: runc"),
        (1, "a\nPython 3.9.2 is too old for a worker.", "has Python 3.9.2, and .* needs 3.10"),
        (126, "Error: pasta failed:\nno namespace\n", "made no .*: pasta failed: no namespace"),
        (125, "Error: abc: image not known", "was removed from podman"),
        (
            125,
            "Error: unable to find network with name or ID nope: network not found",
            "made no container of image .*: unable to find network with name or ID nope",
        ),
        (
            125,
            "docker: Error response from daemon: network nope not found.",
            "made no container of image .*: network nope not found",
        ),
        (125, "warning\nError: short of ids", "podman made no container of image .*: short"),
        (
            125,
            'Error: default OCI runtime "crun" not found: invalid argument',
            'made no container of image .*: default OCI runtime "crun" not found',
        ),
        (
            126,
            "Error: netavark: nftables error: unable to execute nft: Permission denied",
            "made no container of image .*: netavark: nftables error",
        ),
        (
            127,
            'Error: could not find pasta: exec: "pasta": executable file not found in $PATH',
            "made no container of image .*: could not find pasta",
        ),
        (
            125,
            "Error: stat /srv/exec/data: no such file or directory",
            "made no container of image .*: stat /srv/exec/data",
        ),
        (
            127,
            "docker: Error response from daemon: error gathering device information while "
            'adding custom device "/dev/nothing": no such file or directory.',
            "made no container of image .*: error gathering device information",
        ),
        (
            127,
            'docker: Error response from daemon: exec: "docker-init": executable file not '
            "found in $PATH.",
            'made no container of image .*: exec: "docker-init"',
        ),
        (
            125,
            "docker: Error response from daemon: No such image: sha256:abc.\n"
            "See 'docker run --help'.",
            "was removed from podman",
        ),
        (
            125,
            "docker: Error response from daemon: unknown or invalid runtime name: crun.\n"
            "See 'docker run --help'.",
            "made no container of image .*: unknown or invalid runtime name: crun",
        ),
        (
            1,
            'time="2026-01-02T03:04:05Z" level=fatal msg="exec: \\"python3\\": executable file '
            'not found in $PATH"',
            "no Python",
        ),
        (
            125,
            'time="2026-01-02T03:04:05Z" level=fatal msg="no \\"such\\" snapshotter"',
            'made no container of image .*: no "such" snapshotter',
        ),
    ],
)
def test_what_an_engine_says_becomes_a_sentence(code: int, said: str, sentence: str):
    """The error names the image and the reason."""
    error = explain(PODMAN, IMAGE, "python3", None, code, said)
    assert error is not None
    assert re.search(sentence, str(error))
    assert "models:1" in str(error)


def test_an_image_that_was_built_has_no_name():
    """Whoever has written a Dockerfile does not read a name that they have not written."""
    built = attrs.evolve(IMAGE, name=f"{REPOSITORY}:3f9c")
    missing = "Error: runc: exec: executable file `python3` not found in $PATH"
    told = explain(PODMAN, built, "python3", None, 127, missing)
    assert str(told).startswith("The image of the Dockerfile has no Python: ")
    told = explain(PODMAN, built, "python3", None, 125, "Error: short of ids")
    assert str(told) == (
        "podman made no container of the image of the Dockerfile: short of ids."
    )


@pytest.mark.parametrize("code", [7, 125, 126, 127, 137])
def test_the_end_of_a_worker_is_its_own(code: int):
    """An exit code of the function is none of the engine's, which speaks of no error."""
    assert explain(PODMAN, IMAGE, "python3", None, code, "WARNING: no swap") is None
