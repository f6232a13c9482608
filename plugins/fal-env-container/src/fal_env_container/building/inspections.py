"""What an engine tells of images: those with a label, what they consist of, and who has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import KIND, Engine

#: An image as an engine describes it.
Content = Mapping[str, Any]


def find_labelled(engine: Engine, label: str) -> list[str]:
    """
    Return the ids of the images of *engine* that have *label*.

    Raises:
        EnvironmentBuildError: The engine does not answer.
    """
    answer = engine.ask("images", "--all", "--quiet", "--no-trunc", f"--filter=label={label}")
    if answer.code != 0:
        raise EnvironmentBuildError(
            KIND, f"{engine.name} does not list its images: {answer.problem}."
        )
    return list(dict.fromkeys(answer.output.split()))


def inspect(engine: Engine, identities: Iterable[str]) -> list[Content]:
    """Return what *engine* says of those images *identities* that are still there."""
    wanted = list(identities)
    if not wanted:
        return []
    answer = engine.ask("image", "inspect", "--format", "{{json .}}", *wanted)
    return [json.loads(line) for line in answer.output.splitlines() if line.startswith("{")]


def has_containers(engine: Engine, identity: str) -> bool:
    """Tell whether a container of the image *identity* is there, running or not."""
    image = identity.removeprefix("sha256:")
    answer = engine.ask("ps", "--all", "--quiet", f"--filter=ancestor={image}")
    return answer.code != 0 or bool(answer.output.strip())


def layers_of(content: Content) -> tuple[str, ...]:
    """Return the digests of the layers that an image consists of, the lowest first."""
    return tuple((content.get("RootFS") or {}).get("Layers") or ())


def own_size(content: Content, bases: Iterable[Content]) -> int:
    """Return how many bytes an image adds to the largest of *bases* that it stands on."""
    layers = layers_of(content)
    below = [
        int(each.get("Size") or 0)
        for each in bases
        if layers_of(each) == layers[: len(layers_of(each))]
    ]
    return max(0, int(content.get("Size") or 0) - max(below, default=0))
