"""
Flags of pip among requirements: where packages come from, and which of them are taken.

Each is one entry, or two where it has a value. Those that name a place hold for all layers,
as the options do that they stand for; the others hold for their layer::

    --extra-index-url URL    an index beside the usual ones: the option ``extra_index_urls``
    --index-url URL          the index in place of the usual one: the option ``index_url``
    --find-links PLACE       a page or a folder with links to distributions
    --pre                    prereleases are taken
    --no-deps                what the entries require is not installed
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import attrs

from fal_core.errors import OptionError
from fal_uv.requirements.url_credentials import mask

#: The flags that name a place, by all their spellings.
_PLACES = {
    "--extra-index-url": "--extra-index-url",
    "--index-url": "--index-url",
    "-i": "--index-url",
    "--find-links": "--find-links",
    "-f": "--find-links",
}
#: Flags without a value, and what uv calls them.
_CHOICES = {"--pre": "--prerelease=allow", "--no-deps": "--no-deps"}
#: What to write in place of some that are not taken.
_REMEDIES = {
    **dict.fromkeys(("-c", "--constraint"), "name the file by the option constraints_file"),
    **dict.fromkeys(("-U", "--upgrade"), "leave it out: an environment is built anew"),
}
_WRITTEN = re.compile(r"(--?[A-Za-z][\w-]*)(?:(?:\s*=\s*|\s+)(\S.*))?")


@attrs.frozen(kw_only=True)
class Places:
    """
    Where flags say that packages come from.

    Attributes:
        index_url: The index in place of the usual one, if one is named.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()


def with_values(entries: Iterable[str]) -> list[str]:
    """Return *entries*, each flag that lacks its value joined with the entry after it."""
    found: list[str] = []
    for entry in entries:
        before = found[-1].strip() if found else ""
        if before in _PLACES and not entry.strip().startswith("-"):
            found[-1] = f"{before}={entry.strip()}"
        else:
            found.append(entry)
    return found


def parse_flag(text: str) -> str:
    """
    Return the flag *text* in its one spelling, as in ``--index-url=https://host/simple``; pip
    takes it on its command line and in a file alike.

    Raises:
        OptionError: It has no meaning here, lacks its value, or names no place.
    """
    written = _WRITTEN.fullmatch(text)
    flag, value = written.groups() if written is not None else (text.split()[0], None)
    if flag in _CHOICES and value is None:
        return flag
    if flag not in _PLACES:
        remedy = _REMEDIES.get(flag, "leave it out, or write it into a requirements file")
        known = ", ".join(name for name in (*_PLACES, *_CHOICES) if name.startswith("--"))
        raise OptionError(
            f"Requirement {mask(text)!r} is a flag that has no meaning here: {remedy}. Those "
            f"that have are -r FILE, -e PROJECT, {known}."
        )
    name = _PLACES[flag]
    if value is None:
        raise OptionError(
            f"Requirement {text!r} is a flag without its value. Write '{name}=URL', or the URL "
            "as the next entry."
        )
    if not re.match(r"[a-z][a-z0-9+.-]*://", value):
        if name != "--find-links":
            raise OptionError(f"Requirement {text!r} must name an index by its URL.")
        path = os.path.abspath(os.path.expanduser(value))
        if not os.path.exists(path):
            raise OptionError(f"Requirement {text!r} names {path}, but there is no such path.")
        value = path
    return f"{name}={value}"


def argument_of(flag: str) -> str:
    """Return what :func:`parse_flag` has returned as an argument of uv."""
    return _CHOICES.get(flag, flag)


def take_places(
    layers: Iterable[Iterable[str]],
) -> tuple[tuple[tuple[str, ...], ...], Places]:
    """
    Return *layers* of parsed entries without the flags that name places, and the places.

    Raises:
        OptionError: Two flags name different indexes in place of the usual one.
    """
    indexes: list[str] = []
    extra: list[str] = []
    links: list[str] = []
    lists = {"--index-url": indexes, "--extra-index-url": extra, "--find-links": links}
    left = []
    for layer in layers:
        kept = []
        for entry in layer:
            flag, _, value = entry.partition("=")
            if flag in lists:
                lists[flag].append(value)
            else:
                kept.append(entry)
        # A layer that has only said where packages come from installs nothing.
        if any(not entry.startswith("--") for entry in kept) or not layer:
            left.append(tuple(kept))
    if len({*indexes}) > 1:
        raise OptionError(
            "Requirements name two indexes with '--index-url'. Name the second one with "
            "'--extra-index-url'."
        )
    places = Places(
        index_url=indexes[0] if indexes else None,
        extra_index_urls=tuple(dict.fromkeys(extra)),
        find_links=tuple(dict.fromkeys(links)),
    )
    return tuple(left), places


def names_folder(entry: str) -> bool:
    """Tell whether the parsed *entry* is a flag that names a folder of this machine."""
    return entry.startswith("--find-links=") and "://" not in entry
