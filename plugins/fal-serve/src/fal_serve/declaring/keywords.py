"""Keywords of the classes of applications. Nothing imports it but type checkers."""

from __future__ import annotations

from typing import Literal

from fal_core.keywords import AnyKeywords


class AppKeywords(AnyKeywords, total=False):
    """What the class statement of an application takes: any option, and what is the class's own."""

    name: str | None
    """The name of the application on a host; by default one made from that of the class."""

    app_name: str | None
    """The same as *name*."""

    app_auth: Literal["public", "private", "shared"] | None
    """Who may call the application."""

    local_python_modules: list[str]
    """Modules to take along as source, beside those that are found."""

    cors: bool
    """Whether pages of all origins may send requests from a browser; by default they may."""
