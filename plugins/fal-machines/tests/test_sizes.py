"""Sizes: amounts of memory, as people write and read them."""

from __future__ import annotations

import pytest

from fal_core.reprs import show_size
from fal_machines.sizes import read_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512 MB", 512_000_000),
        ("1.5GB", 1_500_000_000),
        ("1 GiB", 1 << 30),
        ("2 TB", 2_000_000_000_000),
        ("7 b", 7),
        ("7", None),
        ("1 G", None),
        ("-1 GB", None),
        ("much", None),
        ("", None),
    ],
)
def test_sizes_have_a_unit(text: str, size: int | None) -> None:
    """GB counts in thousands and GiB in 1024; what has no unit is no size."""
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["80 GB", "1.5 GB", "512 MB", "30 kB", "2 TB", "7 B"])
def test_sizes_are_written_as_they_are_read(text: str) -> None:
    """What is written is read as the same size."""
    size = read_size(text)
    assert size is not None
    assert show_size(size) == text
