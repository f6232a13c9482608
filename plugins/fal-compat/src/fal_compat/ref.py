"""The application that runs in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fal_serve import App

current_app: App | None = None


def set_current_app(app: App) -> None:
    """Make *app* the application of this process."""
    global current_app
    current_app = app


def get_current_app() -> App | None:
    """Return the application of this process, or None outside of one."""
    return current_app
