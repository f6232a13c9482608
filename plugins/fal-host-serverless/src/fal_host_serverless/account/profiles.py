"""Profiles: named settings in ``~/.fal/config.toml``, shared with fal's own tools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.errors import FalServerlessError

if TYPE_CHECKING:
    from pathlib import Path

#: The table that is no profile, and names the profile and the team in use.
_INTERNAL = "__internal__"


def path() -> Path:
    """Return the file of the profiles."""
    from pathlib import Path

    return Path(os.environ.get("FAL_CONFIG_PATH") or "~/.fal/config.toml").expanduser()


@attrs.define(repr=False)
class Profiles:
    """
    The content of the file of profiles.

    Its values may be keys, so its *repr* shows the names alone.
    """

    tables: dict[str, Any] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"Profiles({', '.join(self.names)})"

    @property
    def names(self) -> list[str]:
        """The names of the profiles."""
        return [
            name
            for name, table in self.tables.items()
            if name != _INTERNAL and isinstance(table, dict)
        ]

    @property
    def current(self) -> str | None:
        """The profile in use: that of ``FAL_PROFILE``, or the one that was chosen last."""
        chosen = os.environ.get("FAL_PROFILE") or self.tables.get(_INTERNAL, {}).get("profile")
        return chosen if chosen in self.names else None

    @property
    def team(self) -> str | None:
        """The team that ``fal team set`` has chosen."""
        found = self.tables.get(_INTERNAL, {}).get("team")
        return found if isinstance(found, str) and found else None

    def value(self, key: str, profile: str | None = None) -> str | None:
        """
        Return the value of *key* in *profile*, or in the profile in use.

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
        """Make *profile* the one in use; None for no profile."""
        internal = self.tables.setdefault(_INTERNAL, {})
        internal.pop("profile", None)
        if profile is not None:
            internal["profile"] = profile

    def write(self) -> None:
        """
        Write the file, readable only by its owner.

        Raises:
            FalServerlessError: Its directory belongs to another user.
        """
        import tomli_w

        from fal_core.caches import write_atomically

        target = path()
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if target.parent.stat().st_uid not in (0, os.geteuid()):
            raise FalServerlessError(
                f"{target} is not written: its directory belongs to another user, who could "
                "replace it. Set FAL_CONFIG_PATH to a file in a directory of yours."
            )
        text = tomli_w.dumps(self.tables)
        write_atomically(target, text, mode=0o600, durable=False)


def read() -> Profiles:
    """
    Return the profiles of this user; none where there is no file.

    Raises:
        FalServerlessError: The file cannot be read, or is not valid TOML.
    """
    from fal_host_serverless.account.toml_files import TomlError, read_toml

    try:
        return Profiles(read_toml(path()))
    except FileNotFoundError:
        return Profiles()
    except (OSError, TomlError) as error:
        raise FalServerlessError(f"{path()} cannot be read: {error}") from error
