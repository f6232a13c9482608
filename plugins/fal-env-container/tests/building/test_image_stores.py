"""What builds leave with the engine, listed and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_builders import ImageBuilder

from fal_core.errors import EnvironmentBuildError
from fal_core.stores import prune
from fal_env_container.building.image_stores import ImageStore, LayerStore


def test_images_are_listed_and_removed(build: ImageBuilder):
    """
    Images that were built are listed with their use; one that a container has stays, and
    images of others are never touched.
    """
    first = build(build.declare("RUN echo one-of-two > /x\n"))
    other = build.engine.run("tag", build.base, "localhost/tests/other:1")
    assert other == ""
    entries = {each.key: each for each in ImageStore().entries()}
    key = first.name.rpartition(":")[2]
    entry = entries[key]
    whole = int(build.engine.run("image", "inspect", "--format", "{{.Size}}", first.id))
    # What it stands on is not ours, and stays.
    assert 0 < entry.size < whole / 2
    assert entry.last_used >= entry.created - 60
    assert build.base in entry.summary
    assert not entry.in_use
    container = build.engine.run("create", "--network=none", first.id, "true")
    [used] = [each for each in ImageStore().entries() if each.key == key]
    assert used.in_use
    assert not ImageStore().remove(used)
    assert build.engine.has(first.name)
    build.engine.run("rm", container)
    assert ImageStore().remove(used)
    assert not build.engine.has(first.name)
    assert build.engine.has("localhost/tests/other:1")
    assert not build.declare("RUN echo one-of-two > /x\n").is_built()


def test_what_others_build_on_an_image_is_theirs(build: ImageBuilder):
    """
    An image that stands on one of ours has its labels, and is neither listed nor removed, named
    or not.
    """
    first = build(build.declare("RUN echo ours > /x\n"))
    key = first.name.rpartition(":")[2]
    (build.folder / "Dockerfile").write_text(f"FROM {first.name}\nRUN echo theirs > /x\n")
    named = build.engine.run(
        "build", "--quiet", "--tag=localhost/tests/own:1", str(build.folder)
    )
    (build.folder / "Dockerfile").write_text(f"FROM {first.name}\nRUN echo unnamed > /x\n")
    unnamed = build.engine.run("build", "--quiet", str(build.folder))
    assert [each.key for each in ImageStore().entries()].count(key) == 1
    pruned = prune([ImageStore(), LayerStore()], max_size=0)
    assert key in [each.key for each in pruned.entries]
    for image, text in ((named, "theirs"), (unnamed, "unnamed")):
        shown = build.engine.run("run", "--rm", "--network=none", image, "cat", "/x")
        assert shown == text
        build.engine.run("rmi", image)


def test_an_image_that_was_replaced_is_removed(build: ImageBuilder):
    """
    An image that is built anew takes the name of the one before, which goes once no container
    has it; if somebody has named it, it stays.
    """
    text = "RUN echo replaced > /x\n"
    first = build(build.declare(text))
    container = build.engine.run("create", "--network=none", first.id, "true")
    second = build(build.declare(text, force=True))
    assert second.id != first.id
    assert build.engine.has(first.id)
    assert ImageStore().leftovers(dry_run=True) == 0
    build.engine.run("rm", container)
    assert ImageStore().leftovers(dry_run=True) > 0
    assert build.engine.has(first.id)
    build.engine.run("tag", first.id, "localhost/tests/kept:1")
    assert ImageStore().leftovers(dry_run=False) == 0
    build.engine.run("untag", first.id)
    assert ImageStore().leftovers(dry_run=False) > 0
    assert not build.engine.has(first.id)
    assert build.engine.has(second.id)


def test_layers_of_failed_builds_are_pruned(build: ImageBuilder):
    """
    Layers that are no image's are listed as the builds that made them, count for a limit, and
    are pruned; those of an image stay with it.
    """
    prune([ImageStore(), LayerStore()], max_size=0)
    with pytest.raises(EnvironmentBuildError):
        build(build.declare("RUN dd if=/dev/zero of=/big bs=1k count=500\nRUN false\n"))
    image = build(build.declare("RUN echo of an image > /x\nRUN echo more > /y\n"))
    [entry] = LayerStore().entries()
    [kept] = ImageStore().entries()
    assert entry.summary == "1 layer of a build"
    assert kept.size < 500 << 10 <= entry.size
    before = build.engine.images()
    stores = [ImageStore(), LayerStore()]
    assert prune(stores).entries == ()
    assert prune(stores, max_size=kept.size + entry.size).entries == ()
    pruned = prune(stores, max_size=kept.size + entry.size - 1)
    assert [each.key for each in pruned.entries] == [entry.key]
    assert (pruned.freed, pruned.kept) == (entry.size, kept.size)
    assert len(before - build.engine.images()) == 1
    assert build.read(image, "cat", "/y") == "more"


def test_files_of_killed_builds_are_leftovers(build: ImageBuilder, cache: Path):
    """The directory of a build that nobody continues is removed."""
    build(build.declare("RUN echo leftover\n"))
    folder = cache / "containers/building/digest.12345678"
    (folder / "context").mkdir(parents=True)
    (folder / "context/file").write_bytes(bytes(5000))
    assert ImageStore().leftovers(dry_run=True) >= 5000
    assert folder.exists()
    assert ImageStore().leftovers(dry_run=False) >= 5000
    assert not folder.exists()


def test_without_an_engine_there_is_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Where no engine answers, lists are empty."""
    monkeypatch.setenv("FAL_CORE_CONTAINER_ENGINE", "none-on-this-machine")
    assert ImageStore().entries() == LayerStore().entries() == []
    assert ImageStore().leftovers(dry_run=True) == 0


def test_stores_are_registered_once():
    """Each store that the plugin registers is equal to another of its kind, and counts once."""
    from fal_env_container import fal_register_stores
    from fal_env_container.running.package_stores import STORE

    images, layers, packages, uv = fal_register_stores()
    assert [images, layers, packages] == [ImageStore(), LayerStore(), STORE]
    assert (uv.kind, uv.is_shared) == ("uv", True)
    assert list(fal_register_stores()) == [images, layers, packages, uv]
