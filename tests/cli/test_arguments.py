"""Arguments of a command line, made into those that a function takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import attrs
import pytest

from fal_core.cli.arguments import ArgumentError, parse_json_arguments, parse_words
from fal_core.functions import IsolatedFunction
from fal_core.options import Options

if TYPE_CHECKING:
    from decimal import Decimal


class Size(Enum):
    SMALL = 1
    LARGE = 2


@attrs.frozen
class Point:
    x: int
    y: float


def isolated(func: Callable[..., Any], **host_options: Any) -> IsolatedFunction[..., Any]:
    """Return *func* as the command line gets it; parsing arguments asks no host."""
    host: Any = None
    return IsolatedFunction(host, func, Options(host=host_options))


def words(func: Callable[..., Any], *given: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return parse_words(isolated(func), given)


def takes_all(
    count: int,
    size: Size = Size.SMALL,
    *more: float,
    loud: bool = False,
    path: Path | None = None,
    mode: Literal["fast", "slow"] = "fast",
    points: list[Point] = [],  # noqa: B006  # as users write it
    **others: int,
) -> None: ...


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["3"], ((3,), {})),
        (["-3"], ((-3,), {})),
        (["--count", "3"], ((), {"count": 3})),
        (["--count=3"], ((), {"count": 3})),
        (["3", "LARGE", "1.5", "2"], ((3, Size.LARGE, 1.5, 2.0), {})),
        (["3", "--loud"], ((3,), {"loud": True})),
        (["--loud", "3"], ((3,), {"loud": True})),
        (["--loud", "false", "3"], ((3,), {"loud": False})),
        (["--loud=true", "3"], ((3,), {"loud": True})),
        (["--no-loud", "3"], ((3,), {"loud": False})),
        (["3", "--path", "a/b"], ((3,), {"path": Path("a/b")})),
        (["3", "--mode", "slow"], ((3,), {"mode": "slow"})),
        (["3", "--points", '[{"x": 1, "y": 2}]'], ((3,), {"points": [Point(1, 2.0)]})),
        (["3", "--left-over", "7"], ((3,), {"left_over": 7})),
        (["3", "--left", "--7"], None),
    ],
)
def test_words_are_read_as_annotations_say(given: list[str], expected: Any) -> None:
    """Words give arguments by position and by name, each converted by its annotation."""
    if expected is None:
        with pytest.raises(ArgumentError, match="left"):
            words(takes_all, *given)
    else:
        assert words(takes_all, *given) == expected


def plain(text, value=None): ...  # type: ignore[no-untyped-def]  # as users write it


def string(text: str) -> None: ...


class Place(TypedDict):
    point: Point
    since: date


def takes_times(
    day: date, at: datetime | None = None, clock: time | None = None, place: Place | None = None
) -> None: ...


NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["2026-01-31"], ((date(2026, 1, 31),), {})),
        (
            ["2026-01-31", "2026-01-31T12:00"],
            ((date(2026, 1, 31), NOON.replace(tzinfo=None)), {}),
        ),
        (["2026-01-31", "2026-01-31T12:00:00Z"], ((date(2026, 1, 31), NOON), {})),
        (
            ["2026-01-31", "--clock", "12:30:00"],
            ((date(2026, 1, 31),), {"clock": time(12, 30)}),
        ),
        (
            ["2026-01-31", "--place", '{"point": {"x": 1, "y": 2}, "since": "2026-01-31"}'],
            (
                (date(2026, 1, 31),),
                {"place": {"point": Point(1, 2.0), "since": date(2026, 1, 31)}},
            ),
        ),
        (["31.1.2026"], "'day' must be a date, as in 2026-01-31, not '31.1.2026' (str)."),
        (["2026-01-31", "noon"], "'at' must be a datetime or None, not 'noon' (str)."),
        (
            ["2026-01-31", "--place", '{"point": {"x": 1, "y": "b"}, "since": "2026-01-31"}'],
            "Argument 'place.point.y' must be a number, not 'b' (str).",
        ),
        (
            ["2026-01-31", "--place", '{"point": {"x": 1, "y": 2}, "since": "today"}'],
            "Argument 'place.since' must be a date, as in 2026-01-31, not 'today' (str).",
        ),
        (
            ["2026-01-31", "--place", '{"point": {"x": 1}, "since": "2026-01-31"}'],
            "Argument 'place.point' must be a Point with 'y', not {'x': 1} (dict).",
        ),
        (
            ["2026-01-31", "--place", '{"point": {}, "since": "2026-01-31", "until": 1}'],
            "Argument 'place.point' must be a Point with 'x', not {} (dict).",
        ),
        (
            ["2026-01-31", "--place", '{"points": 1}'],
            "Argument 'place' must be a Place with 'point', not {'points': 1} (dict).",
        ),
    ],
)
def test_dates_are_written_as_in_iso_8601_and_a_wrong_field_is_named(
    given: list[str], expected: Any
) -> None:
    """Dates and times are written in ISO 8601, in JSON too; an error names the wrong field."""
    if isinstance(expected, str):
        with pytest.raises(ArgumentError) as caught:
            words(takes_times, *given)
        assert expected in str(caught.value)
    else:
        assert words(takes_times, *given) == expected


def flag(loud: bool) -> None: ...


def elsewhere(number: Decimal) -> None: ...


@pytest.mark.parametrize(
    ("func", "given", "expected"),
    [
        (plain, "3", 3),
        (plain, "three", "three"),
        (plain, "[1, 2]", [1, 2]),
        (string, "3", "3"),
        (string, "true", "true"),
        (flag, "true", True),
        (elsewhere, "3", 3),
    ],
)
def test_without_a_known_annotation_words_are_json(
    func: Callable[..., Any], given: str, expected: Any
) -> None:
    """A word is JSON where it can be, or else a string, unless the annotation is known."""
    assert words(func, given) == ((expected,), {})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["x"], "Argument 'count' must be an integer, not 'x' (str)."),
        (["1.5"], "Argument 'count' must be an integer, not '1.5' (str)."),
        (["3", "--mode", "slower"], "Argument 'mode' must be 'fast' or 'slow', not "),
        (["3", "--count", "4"], "multiple values for argument 'count'"),
        (["--count", "3", "--count", "4"], "Argument 'count' is given twice."),
        (["--count"], "Argument 'count' has no value. Write '--count value'."),
        ([], "missing a required argument: 'count'"),
        (["3", "--points", "[1]"], "Argument 'points[0]' must be "),
    ],
)
def test_wrong_words_name_the_argument(given: list[str], sentence: str) -> None:
    """The error names the argument, what it must be and what was given."""
    with pytest.raises(ArgumentError) as caught:
        words(takes_all, *given)
    assert sentence in str(caught.value)


def test_unknown_names_and_surplus_words_are_refused() -> None:
    """A name that the function does not have is refused with those it has; so is a surplus."""
    with pytest.raises(ArgumentError, match=r"string has no argument 'nope'.*: text"):
        words(string, "--nope", "3")
    with pytest.raises(ArgumentError, match=r"takes 1 argument by position, and was"):
        words(string, "a", "b")


def test_setup_function_gives_the_first_argument() -> None:
    """The command line does not give what the setup function returns."""

    def ask(model: dict[str, int], question: int) -> None: ...

    function = isolated(ask, setup_function=dict)
    assert parse_words(function, ["3"]) == ((3,), {})
    assert parse_json_arguments(function, '{"question": 3}') == ((), {"question": 3})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"count": 3, "size": "LARGE"}', ((), {"count": 3, "size": Size.LARGE})),
        ('{"count": 3, "points": [{"x": 1, "y": 2}]}', None),
        ("[3]", ((3,), {})),
    ],
)
def test_json_gives_all_arguments(text: str, expected: Any) -> None:
    """A JSON object gives arguments by name, and an array by position, converted strictly."""
    expected = expected or ((), {"count": 3, "points": [Point(1, 2.0)]})
    assert parse_json_arguments(isolated(takes_all), text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "The arguments are not JSON: "),
        ("[" * 100_000, "The arguments are not JSON: "),
        ("3", "must be a JSON object or array"),
        ('{"count": "3"}', "Argument 'count' must be an integer, not '3' (str)."),
        ('{"count": true}', "Argument 'count' must be an integer, not True (bool)."),
        ("{}", "missing a required argument: 'count'"),
    ],
)
def test_wrong_json_is_refused(text: str, sentence: str) -> None:
    """JSON is converted as strictly as options: neither a string nor true is a number."""
    with pytest.raises(ArgumentError) as caught:
        parse_json_arguments(isolated(takes_all), text)
    assert sentence in str(caught.value)
