"""
What builds leave with the engine, as ``fal-core env`` lists and removes it.

Only images and layers that have our label are listed, so nothing else is removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

import attrs

from fal_core.stores import Category, Store, StoredEntry
from fal_env_container.building import inventory
from fal_env_container.building.inspections import (
    Content,
    find_labelled,
    has_containers,
    inspect,
    layers_of,
    own_size,
)
from fal_env_container.building.records import (
    KEY_LABEL,
    LAYER_LABEL,
    image_name,
    read_records,
    remove_leftovers,
    remove_records,
)
from fal_env_container.building.replaced_images import remove_replaced
from fal_env_container.engines import KIND, Engine
from fal_env_container.finding import find_engine, find_engine_if_any


@attrs.frozen
class ImageStore(Store):
    """The images that were built, with the bytes that they add to those that they stand on."""

    kind: str = KIND
    category: Category = "images"

    def entries(self) -> list[StoredEntry]:
        """Return the images that were built, if there is an engine."""
        engine = find_engine_if_any()
        if engine is None:
            return []
        records = read_records()
        bases = inspect(
            engine, {each for record in records.values() for each in record.bases.values()}
        )
        found = []
        for content in inspect(engine, find_labelled(engine, KEY_LABEL)):
            key = _label(content, KEY_LABEL)
            if image_name(key) not in (content.get("RepoTags") or ()):
                # What others build on an image has its labels as well.
                continue
            created = _created(content)
            record = records.get(key)
            found.append(
                StoredEntry(
                    kind=self.kind,
                    key=key,
                    size=own_size(content, bases),
                    created=created,
                    last_used=created if record is None else record.last_used,
                    in_use=has_containers(engine, str(content["Id"])),
                    summary=" ".join(("from", *record.bases)) if record else "",
                )
            )
        return found

    def remove(self, entry: StoredEntry) -> bool:
        """Remove the image of *entry*, unless a container has it."""
        engine = find_engine()
        name = image_name(entry.key)
        inventory.forget(engine, name)
        answer = engine.ask("rmi", name, seconds=600.0)
        if answer.code != 0 and inventory.find_image(engine, name) is not None:
            return False
        remove_records(entry.key)
        return True

    def leftovers(self, *, dry_run: bool) -> int:
        """Remove the files of builds that were killed, and images that newer ones have replaced."""
        engine = find_engine_if_any()
        replaced = 0 if engine is None else remove_replaced(engine, dry_run=dry_run)
        return replaced + remove_leftovers(dry_run=dry_run)


@attrs.frozen
class LayerStore(Store):
    """
    Layers that the engine keeps for the next build of a like image, an entry for each build.

    Those that an image consists of go with it, and are not listed.
    """

    kind: str = KIND
    category: Category = "layers"

    def entries(self) -> list[StoredEntry]:
        """Return the builds that have left layers of no image."""
        engine = find_engine_if_any()
        if engine is None:
            return []
        layers = {
            str(each["Id"]): each
            for each in inspect(engine, find_labelled(engine, LAYER_LABEL))
        }
        kept = _below(layers, inspect(engine, find_labelled(engine, KEY_LABEL)))
        sizes = _own_sizes(engine, layers)
        builds: dict[str, list[str]] = {}
        for identity, content in layers.items():
            if identity not in kept:
                builds.setdefault(_label(content, LAYER_LABEL), []).append(identity)
        return [
            StoredEntry(
                kind=self.kind,
                key=build,
                size=sum(sizes[each] for each in identities),
                created=min(_created(layers[each]) for each in identities),
                last_used=max(_created(layers[each]) for each in identities),
                summary=f"{len(identities)} layer{'s'[: len(identities) - 1]} of a build",
            )
            for build, identities in builds.items()
        ]

    def remove(self, entry: StoredEntry) -> bool:
        """Remove the layers of the build *entry* that nothing stands on."""
        label = f"label={LAYER_LABEL}={entry.key}"
        answer = find_engine().ask(
            "image", "prune", "--force", f"--filter={label}", seconds=600.0
        )
        return answer.code == 0


def _label(content: Content, name: str) -> str:
    labels = (content.get("Config") or {}).get("Labels") or content.get("Labels") or {}
    return str(labels.get(name, ""))


def _created(content: Content) -> float:
    try:
        text = str(content["Created"]).partition(".")[0].rstrip("Z")
        return datetime.fromisoformat(f"{text}+00:00").timestamp()
    except (KeyError, ValueError):
        return time.time()


def _below(layers: Mapping[str, Content], images: Iterable[Content]) -> set[str]:
    """Return those of *layers* that one of *images* consists of."""
    whole = [layers_of(each) for each in images]
    return {
        identity
        for identity, content in layers.items()
        if any(each[: len(own)] == own for own in (layers_of(content),) for each in whole)
    }


def _own_sizes(engine: Engine, layers: Mapping[str, Content]) -> dict[str, int]:
    """Return how many bytes each of *layers* adds to what it stands on."""
    parents = {
        str(each.get("Parent") or "").removeprefix("sha256:") for each in layers.values()
    }
    known = {str(each["Id"]): each for each in inspect(engine, parents - {""})}
    sizes = {
        identity.removeprefix("sha256:"): int(each.get("Size") or 0)
        for identity, each in {**known, **layers}.items()
    }
    return {
        identity: max(
            0,
            sizes[identity.removeprefix("sha256:")]
            - sizes.get(str(each.get("Parent") or "").removeprefix("sha256:"), 0),
        )
        for identity, each in layers.items()
    }
