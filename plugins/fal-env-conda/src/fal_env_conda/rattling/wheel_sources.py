"""
Channels of wheels, as the process of rattler sees them.

Such a channel lists wheels in its index, in the third revision of the format, and no conda
packages. Rattler reads and chooses them, but neither looks for them by itself nor installs
them. Nothing else of this package is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Where the wheels of a channel are listed, as they are for any platform.
_SUBDIR = "noarch"


class WheelSource:
    """The wheels of one channel, as rattler asks for packages."""

    def __init__(self, index: Any) -> None:
        import rattler

        self._index = index
        self._formats = rattler.PackageFormatSelection.PREFER_CONDA_WITH_WHL

    async def fetch_package_records(self, platform: Any, name: Any) -> list[Any]:
        """Return the wheels of the package *name*."""
        if str(platform) != _SUBDIR:
            return []
        found: list[Any] = self._index.load_records(name, self._formats)
        return found

    def package_names(self, platform: Any) -> list[str]:
        """Return the names of all packages."""
        if str(platform) != _SUBDIR:
            return []
        found: list[str] = self._index.package_names(self._formats)
        return found


async def with_wheels(
    channels: Iterable[str],
    *,
    gateway: Any,
    client: Any,
    platform: str,
    cache: str,
    cache_action: Any,
) -> list[Any]:
    """
    Return *channels* as sources of packages, those of wheels as their wheels.

    Raises:
        OSError: A channel cannot be read; the message names it.
    """
    import rattler
    from rattler.exceptions import GatewayError

    sources: list[Any] = []
    subdirs = [rattler.Subdir(platform), rattler.Subdir(_SUBDIR)]
    for channel in channels:
        try:
            has_packages = bool(await gateway.names([channel], subdirs))
        except GatewayError as error:
            raise OSError(f"Channel {channel} cannot be read: {error}") from None
        wheels = None
        if not has_packages:
            wheels = await _read_wheels(channel, client, cache, cache_action)
        sources.append(wheels or channel)
    return sources


async def _read_wheels(
    channel: str, client: Any, cache: str, cache_action: Any
) -> WheelSource | None:
    """Return the wheels of *channel*. None if it has no list of packages at all."""
    import rattler
    from rattler.exceptions import FetchRepoDataError
    from rattler.networking import FetchRepoDataOptions

    try:
        [index] = await rattler.fetch_repo_data(
            channels=[rattler.Channel(channel)],
            platforms=[rattler.Subdir(_SUBDIR)],
            cache_path=cache,
            callback=None,
            client=client,
            fetch_options=FetchRepoDataOptions(cache_action=cache_action),
        )
    except FetchRepoDataError:
        return None
    return WheelSource(index)
