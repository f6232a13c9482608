"""
Layers of requirements: each is installed after the one before it, and changes nothing there.
"""

from __future__ import annotations

from collections.abc import Iterable

from fal_core.errors import OptionTypeError
from fal_env_virtualenv.requirements.entries import parse_entry

Layers = tuple[tuple[str, ...], ...]


def parse_layers(
    requirements: Iterable[str] | Iterable[Iterable[str]],
) -> tuple[str, ...] | Layers:
    """
    Return *requirements*, entries or layers of entries, with absolute paths.

    Raises:
        OptionError: An entry is wrong; the message quotes it.

        OptionTypeError: An element is neither an entry nor a layer, or both are mixed.
    """
    if isinstance(requirements, str):
        raise OptionTypeError("requirements", f"{requirements!r} (str)", "a list of str")
    entries = list(requirements)
    if all(isinstance(entry, str) for entry in entries):
        return tuple(parse_entry(entry).text for entry in entries if isinstance(entry, str))
    layers = []
    for index, layer in enumerate(entries):
        if isinstance(layer, str):
            raise OptionTypeError(
                f"requirements[{index}]",
                f"{layer!r} (str)",
                "a list of str, as other entries are",
            )
        layers.append(_parse_layer(layer, index))
    return tuple(layers)


def as_layers(requirements: tuple[str, ...] | Layers) -> Layers:
    """
    Return *requirements* as layers; entries that are in no layer become one layer.
    """
    entries = tuple(each for each in requirements if isinstance(each, str))
    layers = tuple(each for each in requirements if not isinstance(each, str))
    return (entries,) if entries else layers


def _parse_layer(layer: Iterable[object], index: int) -> tuple[str, ...]:
    texts = []
    for position, entry in enumerate(layer):
        if not isinstance(entry, str):
            where = f"requirements[{index}][{position}]"
            raise OptionTypeError(where, f"{entry!r} ({type(entry).__name__})", "str")
        texts.append(parse_entry(entry).text)
    return tuple(texts)
