"""
Profiles: named settings in ``~/.fal/config.toml``, shared with fal's own tools.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.errors import FalServerlessError

if TYPE_CHECKING:
    from pathlib import Path

#: The table that is no profile, but holds which one is in use.
_INTERNAL = "__internal__"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def path() -> Path:
    """
    Return where profiles are kept.
    """
    from pathlib import Path

    return Path(os.environ.get("FAL_CONFIG_PATH") or "~/.fal/config.toml").expanduser()


@attrs.define(repr=False)
class Profiles:
    """
    The file of profiles, as it was read.

    Its values may be keys, so it has no *repr* of them.
    """

    tables: dict[str, Any] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"Profiles({', '.join(self.names)})"

    @property
    def names(self) -> list[str]:
        """
        The names of the profiles.
        """
        return [
            name
            for name, table in self.tables.items()
            if name != _INTERNAL and isinstance(table, dict)
        ]

    @property
    def current(self) -> str | None:
        """
        The profile in use: of ``FAL_PROFILE``, or the one that was chosen last.
        """
        chosen = os.environ.get("FAL_PROFILE") or self.tables.get(_INTERNAL, {}).get("profile")
        return chosen if chosen in self.names else None

    @property
    def team(self) -> str | None:
        """
        The team that was chosen last, by fal's own tools.
        """
        found = self.tables.get(_INTERNAL, {}).get("team")
        return found if isinstance(found, str) and found else None

    def value(self, key: str, profile: str | None = None) -> str | None:
        """
        Return what *profile*, or the one in use, has for *key*.

        Raises:
            FalServerlessError: There is no such profile.
        """
        if profile is not None:
            self.check(profile)
        table = self.tables.get(profile or self.current or "", {})
        found = table.get(key)
        return found if isinstance(found, str) else None

    def check(self, profile: str) -> None:
        """
        Check that there is a profile of that name.

        Raises:
            FalServerlessError: There is none.
        """
        if profile not in self.names:
            known = ", ".join(self.names) or "none"
            raise FalServerlessError(f"There is no profile {profile!r}. There are: {known}.")

    def choose(self, profile: str | None) -> None:
        """
        Use *profile* from now on, or none.
        """
        internal = self.tables.setdefault(_INTERNAL, {})
        internal.pop("profile", None)
        if profile is not None:
            internal["profile"] = profile

    def write(self) -> None:
        """
        Write the file, which only its owner may read.
        """
        target = path()
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f"{target.name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(to_toml(self.tables))
        os.replace(new, target)


def read() -> Profiles:
    """
    Return the profiles of this user.

    Raises:
        FalServerlessError: The file is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        with path().open("rb") as file:
            return Profiles(tomllib.load(file))
    except FileNotFoundError:
        return Profiles()
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise FalServerlessError(f"{path()} cannot be read: {error}") from error


def to_toml(tables: Mapping[str, Any]) -> str:
    """
    Return *tables* as TOML: plain values first, then each table.
    """
    return "\n".join(_lines(tables, ())) + "\n"


def _lines(table: Mapping[str, Any], where: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    if where and (lines or not table):
        lines.insert(0, f"[{'.'.join(map(_key, where))}]")
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += (
                ["", *_lines(value, (*where, key))] if lines else _lines(value, (*where, key))
            )
    return lines


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    import json

    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
            + "}"
        )
    if isinstance(value, str | bool | int | float):
        # What JSON makes of them is TOML too.
        return json.dumps(value, ensure_ascii=False)
    return str(value)
