"""Representations of values."""

from __future__ import annotations

import attrs
import pytest

from fal_core.reprs import show_fields, show_html, show_seconds, show_size


@attrs.frozen
class Shown:
    __repr__ = show_fields

    name: str
    secret: str = attrs.field(default="s", repr=False)
    masked: str = attrs.field(default="m", repr=lambda value: f"<{value}>")


@attrs.frozen
class ShownByAttrs:
    name: str
    secret: str = attrs.field(default="s", repr=False)
    masked: str = attrs.field(default="m", repr=lambda value: f"<{value}>")


def test_values_are_shown_as_attrs_shows_them():
    """Fields that are hidden stay hidden, and those shown in another way are."""
    assert repr(Shown("a")).replace("Shown", "ShownByAttrs") == repr(ShownByAttrs("a"))


def test_a_class_inside_a_function_has_its_own_name_alone():
    """The name of a class is shown without the function that defines it."""

    @attrs.frozen
    class Inner:
        __repr__ = show_fields

        number: int

    assert repr(Inner(1)) == "Inner(number=1)"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (512_000_000, "512 MB"),
        (999_900_000, "999.9 MB"),
        (999_999_488, "1 GB"),
        (1_500_000_000, "1.5 GB"),
        (2 * 10**12, "2 TB"),
    ],
)
def test_sizes_have_a_unit(count: int, shown: str) -> None:
    """A number of bytes has the largest unit that it reaches."""
    assert show_size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3661, "1 h 1 min"),
    ],
)
def test_durations_are_shown_as_people_read_them(seconds: float, shown: str):
    """Parts of seconds are shown of short durations alone."""
    assert show_seconds(seconds) == shown


def test_html_is_escaped_and_links_urls():
    """What users wrote stands in a table as it is."""
    html = show_html("<f>", [("url", "http://127.0.0.1:1/a?b&c"), ("<n>", "<v>")])
    assert "&lt;f&gt;" in html
    assert "&lt;n&gt;" in html
    assert "&lt;v&gt;" in html
    link = "http://127.0.0.1:1/a?b&amp;c"
    assert f'<a href="{link}" target="_blank">{link}</a>' in html
    assert "<v>" not in html
