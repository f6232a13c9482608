"""
Keywords of the classes of applications. Nothing imports it but type checkers.
"""

from __future__ import annotations

from typing import Literal

from fal_core.keywords import AnyKeywords


class AppKeywords(AnyKeywords, total=False):
    """
    What the class statement of an application takes: any option, and what is the class's own.
    """

    name: str | None
    app_name: str | None
    app_auth: Literal["public", "private", "shared"] | None
    local_python_modules: list[str]
    cors: bool
