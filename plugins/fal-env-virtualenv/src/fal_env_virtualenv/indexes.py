"""
Where uv takes packages from, as the variables and files of this machine say.

uv's own variables and its ``uv.toml`` of the user and of the system count. Where
no variable of uv names an index, those of pip do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import attrs

from fal_env_virtualenv import credentials

_DEFAULT = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_MORE = ("UV_INDEX", "UV_EXTRA_INDEX_URL")
#: What beside the addresses changes which packages are chosen.
_CHOICES = (
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_RESOLUTION",
    "UV_PRERELEASE",
    "UV_EXCLUDE_NEWER",
    "UV_TORCH_BACKEND",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_NO_BINARY",
    "UV_ONLY_BINARY",
    "UV_NO_BUILD",
    "UV_NO_CONFIG",
)
PUBLIC_INDEX = "https://pypi.org/simple"

# What the public index itself says of its answers. Indexes that say nothing
# would be asked, and their files fetched, again for each environment.
_CONFIG = """\
[[index]]
url = "{url}"
default = true
cache-control = {{ api = "max-age=600", files = "max-age=31536000, immutable" }}
"""


@attrs.frozen(kw_only=True)
class Indexes:
    """
    The indexes that an environment is built from.

    Attributes:
        default: The address of the first, credentials included.

        variables: Those to set for uv; None takes one out.

        configuration: The user's and the system's ``uv.toml``, those there are.
    """

    default: str
    variables: dict[str, str | None] = attrs.field(repr=False)
    configuration: tuple[str, ...]

    @property
    def config(self) -> str | None:
        """
        A configuration for uv that lets it keep what it fetched.

        None where the user has one, or the address may not be written down.
        """
        if self.configuration or credentials.without(self.default) != self.default:
            return None
        if '"' in self.default or "\\" in self.default:
            return None
        return _CONFIG.format(url=self.default)

    def fingerprint(self) -> tuple[object, ...]:
        """
        What tells these indexes from others, without credentials.
        """
        chosen = [(name, os.environ[name]) for name in _CHOICES if name in os.environ]
        named = [(name, value) for name, value in self.variables.items() if value is not None]
        return (
            credentials.without(self.default),
            [(name, credentials.without(value)) for name, value in sorted({*named, *chosen})],
            [credentials.without(_text(path)) for path in self.configuration],
        )


def find_indexes(extra: Iterable[str] = ()) -> Indexes:
    """
    Return the indexes that count now, *extra* ones first among those added.
    """
    variables = os.environ
    default = next((variables[name] for name in _DEFAULT if variables.get(name)), None)
    more = " ".join((*extra, *(variables[name] for name in _MORE if variables.get(name))))
    changes: dict[str, str | None] = {}
    if not any(variables.get(name) for name in (*_DEFAULT, *_MORE, "UV_NO_INDEX")):
        default = variables.get("PIP_INDEX_URL") or None
        more = " ".join((more, variables.get("PIP_EXTRA_INDEX_URL", ""))).strip()
    if not variables.get("UV_FIND_LINKS") and (links := _links()):
        changes["UV_FIND_LINKS"] = links
    if more:
        changes["UV_INDEX"] = more
        changes["UV_EXTRA_INDEX_URL"] = None
    if default is not None:
        changes["UV_DEFAULT_INDEX"] = default
        changes["UV_INDEX_URL"] = None
    return Indexes(
        default=default or PUBLIC_INDEX,
        variables=changes,
        configuration=tuple(_configuration()),
    )


def _links() -> str:
    """
    Return pip's directories of distributions as uv reads them.
    """
    links = os.environ.get("PIP_FIND_LINKS", "").split()
    return ",".join(link for link in links if "://" in link or os.path.exists(link))


def _configuration() -> Iterable[str]:
    if os.environ.get("UV_NO_CONFIG"):
        return []
    if named := os.environ.get("UV_CONFIG_FILE"):
        return [named]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    system = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    places = (home, *system.split(":"), "/etc")
    paths = dict.fromkeys(os.path.join(place, "uv", "uv.toml") for place in places)
    return [path for path in paths if os.path.exists(path)]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def platform_name() -> str:
    """
    Return what wheels depend on beside the interpreter.
    """
    machine = os.uname().machine
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        library = None
    return f"{sys.platform}-{machine}-{library or ''}"
