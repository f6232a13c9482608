"""Pins: lines of a requirements file that install what is installed once more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from fal_uv.requirements import url_credentials

#: The ending of directories that describe an installed package.
DIST_INFO = ".dist-info"


def pin_installed(dist_info: str) -> str:
    """
    Return the pin of the package that the directory *dist_info* describes.

    It is a name and a version, or a URL if the package does not come from an index.
    """
    name, version = os.path.basename(dist_info).removesuffix(DIST_INFO).split("-", 1)
    try:
        with open(os.path.join(dist_info, "direct_url.json"), encoding="utf-8") as stream:
            origin = json.load(stream)
    except FileNotFoundError:
        return f"{name.replace('_', '-')}=={version}"
    url = url_credentials.strip(origin["url"])
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {url}"
    if (commit := origin.get("vcs_info")) is not None:
        url = f"{commit['vcs']}+{url}@{commit['commit_id']}"
    if (subdirectory := origin.get("subdirectory")) is not None:
        url = f"{url}#subdirectory={subdirectory}"
    return f"{name.replace('_', '-')} @ {url}"


def is_version(pin: str) -> bool:
    """Tell whether *pin* names a version on an index, and no URL."""
    return "==" in pin and " @ " not in pin and not pin.startswith("-e ")


def add_hashes(pins: Sequence[str], compiled: str) -> tuple[str, ...]:
    """
    Return *pins*, each with the hashes that uv has printed for it.

    Arguments:
        compiled: The output of ``uv pip compile --generate-hashes``.
    """
    hashes: dict[tuple[str, str], list[str]] = {}
    for line in compiled.replace("\\\n", " ").splitlines():
        pin, *options = line.split() or [""]
        if is_version(pin):
            hashes[_split(pin)] = [word for word in options if word.startswith("--hash=")]
    if not hashes:
        return tuple(pins)
    return tuple(
        " ".join((pin, *_find(_split(pin), hashes))) if is_version(pin) else pin for pin in pins
    )


def pinned_projects(pins: Sequence[str]) -> Iterator[str]:
    """Yield the names of those *pins* that are directories of this machine."""
    for pin in pins:
        name, _, url = pin.partition(" @ ")
        if url.startswith("file://") and os.path.isdir(unquote(urlsplit(url).path)):
            yield name


def with_known_hashes(pins: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return *pins*, those of files at a URL with the hashes that *known* pins have for it."""
    hashes = {}
    for pin in known:
        plain, *options = pin.split(" --hash=")
        hashes[plain.partition(" @ ")[2]] = "".join(f" --hash={each}" for each in options)
    return tuple(
        f"{pin}{hashes.get(pin.partition(' @ ')[2], '')}" if " @ " in pin else pin
        for pin in pins
    )


def _find(
    identity: tuple[str, str], hashes: Mapping[tuple[str, str], Sequence[str]]
) -> Sequence[str]:
    """Return the hashes of a name and version, whose name may not be normalised as uv's are."""
    if identity in hashes:
        # Most names are normalised, and packaging takes 20 ms to import.
        return hashes[identity]
    from packaging.utils import canonicalize_name

    name, version = identity
    return hashes.get((canonicalize_name(name), version), ())


def _split(pin: str) -> tuple[str, str]:
    name, _, version = pin.partition("==")
    return name, version
