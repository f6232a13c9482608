"""
Channels: where packages come from, as URLs.

The channels of Anaconda, which conda calls ``defaults``, are refused: their licence makes
many users pay, and nothing here may agree to it for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

import attrs

from fal_core.errors import OptionError
from fal_uv.requirements import url_credentials

#: What is searched where a declaration names no channel.
DEFAULT = "conda-forge"

#: Where channels are that are named by a word alone.
_ALIAS = "https://conda.anaconda.org/"
_OF_ANACONDA = re.compile(
    r"(?:https?://(?:[^/@]*@)?(?:repo\.anaconda\.com|repo\.continuum\.io)(?:/.*)?"
    r"|https?://(?:[^/@]*@)?conda\.anaconda\.org/(?:t/[^/]+/)?"
    r"(?:anaconda|main|r|msys2|pkgs)(?:/.*)?)"
    r"/?",
    re.IGNORECASE,
)
_NAMES_OF_ANACONDA = ("defaults", "anaconda", "main", "r", "msys2", "pkgs")
_OF_PIP = re.compile(r"https?://.*/simple/?")
_TOKEN = re.compile(r"^/t/([^/]+)(?=/)")
#: A URL in what asks for a package.
_URL = re.compile(r"https?://[^\s\[\]\"',]+")


@attrs.frozen
class Credentials:
    """
    What a host of channels is told about who asks.

    Attributes:
        host: Its name. Rattler tells no ports apart.

        user: A name, with *password*. Empty where *password* is a token of the URL's path.
    """

    host: str
    user: str
    password: str = attrs.field(repr=False)


def to_urls(channels: Iterable[str]) -> tuple[str, ...]:
    """
    Return the URLs of *channels*, in their order, with the credentials that they have.

    Raises:
        OptionError: One is no channel, or of Anaconda.
    """
    urls = (_to_url(channel) for channel in channels if channel != "nodefaults")
    return tuple(dict.fromkeys(urls)) or (_to_url(DEFAULT),)


def check_credentials(urls: Iterable[str]) -> None:
    """
    Check that *urls* have the same credentials for each host.

    Raises:
        OptionError: Two have different ones.
    """
    hosts: dict[str, Credentials] = {}
    for each in find_credentials(urls):
        if hosts.setdefault(each.host, each) != each:
            raise OptionError(
                f"Two channels of {each.host} have different credentials. Give both the same."
            )


def check_channel(channel: str) -> None:
    """
    Check that *channel*, which a package is asked from, is not of Anaconda.

    Raises:
        OptionError: It is.
    """
    # A platform or a label may follow.
    if channel.partition("/")[0].lower() in _NAMES_OF_ANACONDA:
        _refuse(channel)
    if _OF_ANACONDA.fullmatch(channel):
        _refuse(strip(channel))


def _refuse(channel: str) -> None:
    raise OptionError(
        f"Channel {channel!r} is Anaconda's, whose licence many users have to pay for. "
        f"Name 'conda-forge' in its place, or remove it."
    )


def _to_url(channel: str) -> str:
    text = channel.strip()
    check_channel(text)
    if "://" in text:
        parts = _parse(text)
        if parts.scheme not in ("http", "https", "file", "oci", "s3", "gs"):
            raise OptionError(
                f"Channel {strip(text)!r} begins with {parts.scheme!r}, which no channel is "
                "reached by. Use https, http, file, oci, s3 or gs."
            )
        if _OF_PIP.fullmatch(strip(text)):
            raise OptionError(
                f"Channel {mask(text)!r} is an index of pip. Write '--extra-index-url' and its "
                "URL to option 'pip', which has the requirements that come from it."
            )
        return text.rstrip("/") + "/"
    if text.startswith((".", "~", os.sep)):
        path = Path(os.path.abspath(os.path.expanduser(text)))
        if not path.is_dir():
            raise OptionError(f"Channel {channel!r} names {path}, and there is no such folder.")
        return path.as_uri() + "/"
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*", text):
        raise OptionError(
            f"Channel {channel!r} is no name, URL or folder. Write it as in 'conda-forge', "
            "'https://example.org/channel' or './channel'."
        )
    return f"{_ALIAS}{text}/"


def _parse(url: str) -> SplitResult:
    """
    Return the parts of the URL of a channel.

    Raises:
        OptionError: It is no URL, or one with more than a channel has.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # It is parsed by that.
    except ValueError as error:
        raise OptionError(f"Channel {mask(url)!r} is no URL: {error}.") from None
    if parts.query or parts.fragment:
        raise OptionError(
            f"Channel {mask(url)!r} has a '?' or '#'. Write the URL of a directory, which has "
            "neither."
        )
    return parts


def mask(text: str) -> str:
    """Return *text* with asterisks in place of the credentials in its URLs."""
    return re.sub(r"(://[^\s'\"]*?/t/)[^/\s'\"]+", r"\1***", url_credentials.mask(text))


def strip(url: str) -> str:
    """Return *url* without its credentials."""
    return _split(url)[0]


def urls_in(package: str) -> tuple[str, ...]:
    """Return the URLs in what asks for a *package*, which may name its channel or its archive."""
    return tuple(_URL.findall(package))


def strip_package(package: str) -> str:
    """Return what asks for a *package*, without credentials."""
    return _URL.sub(lambda found: strip(found[0]), package)


def strip_all(text: str, credentials: Iterable[Credentials]) -> str:
    """Return *text* with asterisks in place of *credentials*."""
    for each in credentials:
        for secret in (each.password, quote(each.password, safe="")):
            text = text.replace(secret, "***") if secret else text
    return text


def add_credentials(url: str, credentials: Iterable[Credentials]) -> str:
    """Return *url* with those of *credentials* that are for its host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return url
    for each in credentials:
        if each.host != parts.hostname:
            continue
        if each.user:
            secret = f"{quote(each.user, safe='')}:{quote(each.password, safe='')}"
            return urlunsplit(parts._replace(netloc=f"{secret}@{parts.netloc}"))
        return urlunsplit(parts._replace(path=f"/t/{each.password}{parts.path}"))
    return url


def find_credentials(urls: Iterable[str]) -> tuple[Credentials, ...]:
    """Return the credentials that *urls* have."""
    return tuple(_find(urls))


def _find(urls: Iterable[str]) -> Iterator[Credentials]:
    for url in urls:
        found = _split(url)[1]
        if found is not None:
            yield found


def _split(url: str) -> tuple[str, Credentials | None]:
    if not url.startswith(("http://", "https://")):
        return url, None
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    server = parts.hostname or ""
    found = None
    if at:
        name, _, password = user.partition(":")
        found = Credentials(server, unquote(name), unquote(password))
        if not password:
            found = Credentials(server, "", unquote(name))
    path = parts.path
    token = _TOKEN.match(path)
    if token is not None:
        path = path[token.end() :]
        found = Credentials(server, "", token[1])
    return urlunsplit((parts.scheme, host, path, parts.query, parts.fragment)), found
