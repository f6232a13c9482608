"""Files below one directory, with links that strangers have put there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fal_server.account_data.trees import Tree
from fal_server.errors import Invalid, NotFound, TooLarge


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A tree beside a file that is not in it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (tmp_path / "root" / "models").mkdir(parents=True)
    (tmp_path / "root" / "models" / "weights").write_text("weights")
    return Tree(tmp_path / "root")


def put(tree: Tree, text: str, *parts: str) -> None:
    new = tree.root.parent / "new"
    new.write_text(text)
    tree.put(new, parts)


def read(tree: Tree, *parts: str) -> str:
    with tree.open(parts) as file:
        return file.read().decode()


def names(tree: Tree, *parts: str) -> list[str]:
    return sorted("/".join(each.parts) for each in tree.entries(parts))


@pytest.mark.parametrize(
    "target",
    ["../secret", "../outside", "/etc/passwd", "/", "/data/../secret", "models/../../secret"],
)
def test_links_out_of_the_tree_lead_nowhere(tree: Tree, target: str):
    """
    A link that leads out of the tree is not followed: not to read, not to write, and not in
    the middle of a path; it is not listed, and can be removed.
    """
    (tree.root / "link").symlink_to(target)
    for parts in (("link",), ("link", "file"), ("link", "passwd")):
        with pytest.raises((NotFound, Invalid)):
            tree.open(parts)
        assert names(tree, *parts) == []
    with pytest.raises((NotFound, Invalid)):
        put(tree, "new", "link", "made")
    assert not (tree.root.parent / "outside" / "made").exists()
    assert names(tree) == ["models"]
    tree.remove(["link"])
    assert (tree.root.parent / "secret").read_text() == "secret"
    assert (tree.root.parent / "outside" / "file").read_text() == "outside"


@pytest.mark.parametrize("target", ["models/weights", "/data/models/weights"])
def test_links_within_the_tree_are_followed(tree: Tree, target: str):
    """A link within the tree is followed as an application sees it, where the tree is /data."""
    (tree.root / "link").symlink_to(target)
    assert read(tree, "link") == "weights"
    [entry] = [each for each in tree.entries([]) if each.parts == ("link",)]
    assert (entry.is_file, entry.size) == (True, 7)


def test_a_link_that_is_written_is_replaced(tree: Tree):
    """Who writes to the path of a link replaces the link, and leaves alone what it leads to."""
    (tree.root / "link").symlink_to("../secret")
    put(tree, "new", "link")
    assert read(tree, "link") == "new"
    assert (tree.root.parent / "secret").read_text() == "secret"


def test_links_in_a_circle_end(tree: Tree):
    """Links that lead to each other, and to a directory above them, are not listed."""
    (tree.root / "a").symlink_to("b")
    (tree.root / "b").symlink_to("a")
    (tree.root / "models" / "up").symlink_to("..")
    (tree.root / "models" / "here").symlink_to(".")
    assert names(tree) == ["models"]
    assert names(tree, "models") == ["models/weights"]
    with pytest.raises(NotFound):
        tree.open(["a"])


def test_pipes_hold_up_nobody(tree: Tree):
    """What is neither a file nor a directory is not read, and nobody waits for it."""
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(NotFound):
        tree.open(["pipe"])


def test_removing_and_renaming(tree: Tree):
    """Directories are removed with everything in them but what links lead to, and renamed."""
    put(tree, "deep", "a", "b", "c")
    (tree.root / "a" / "b" / "link").symlink_to(tree.root.parent / "outside")
    tree.rename(["a"], ["x", "y"])
    assert read(tree, "x", "y", "b", "c") == "deep"
    with pytest.raises(Invalid, match="itself"):
        tree.rename(["x"], ["x", "y", "z"])
    with pytest.raises(Invalid, match="directory of that name"):
        put(tree, "new", "x")
    with pytest.raises(Invalid, match="not empty"):
        tree.rename(["models"], ["x"])
    tree.remove(["x"])
    assert names(tree) == ["models"]
    assert (tree.root.parent / "outside" / "file").exists()
    for refused in (lambda: tree.remove([]), lambda: tree.rename([], ["b"])):
        with pytest.raises(Invalid, match="/data itself"):
            refused()


def test_measuring(tree: Tree):
    """Files are counted with what they take on the disk."""
    before = tree.measure()
    put(tree, "x" * 100_000, "large")
    files, size = tree.measure()
    assert files == before[0] + 1
    assert size >= before[1] + 100_000


def make_deep(place: Path, levels: int) -> None:
    """Make directories in each other, as an application can."""
    opened = os.open(place, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=opened)
        below = os.open("d", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = below
    with open("file", "w", opener=lambda name, flags: os.open(name, flags, dir_fd=opened)) as f:
        f.write("deep")
    os.close(opened)


def test_what_is_deeper_than_paths_is_full(tree: Tree):
    """
    A tree that is as deep as a path is counted; with one that is deeper, the account is full
    until it is removed, which works.
    """
    make_deep(tree.root, 199)
    assert tree.measure()[0] == 2
    tree.remove(["d"])
    make_deep(tree.root, 1500)
    with pytest.raises(TooLarge, match="in each other"):
        tree.measure()
    tree.remove(["d"])
    assert tree.measure()[0] == 1
    assert names(tree) == ["models"]


def test_links_do_not_make_paths_longer(tree: Tree):
    """A path that links make deeper than paths are is not followed."""
    make_deep(tree.root, 300)
    (tree.root / "link").symlink_to("/".join(["d"] * 150))
    (tree.root / "deeper").symlink_to("/".join(["d"] * 250))
    assert names(tree, "link", "d", "d")
    with pytest.raises(NotFound, match="More than 200"):
        tree.open(["deeper", "d", "file"])
    tree.remove(["d"])


def test_what_is_open_is_closed(tree: Tree):
    """Nothing is left open, also where a tree is too deep."""
    make_deep(tree.root, 300)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(TooLarge):
        tree.measure()
    tree.remove(["d"])
    assert len(os.listdir("/proc/self/fd")) <= len(before)
