"""Spawned applications: waiting for their health."""

from __future__ import annotations

from typing import Any

import pytest

from fal_serve import App, AppClientError, endpoint


class Unwell(App, kind="current"):
    state = 500

    def health(self) -> Any:
        from fastapi import HTTPException

        raise HTTPException(self.state, "unwell")

    @endpoint("/")
    def nothing(self) -> None: ...


class Refusing(Unwell):
    state = 401


def test_wait_is_for_health():
    """wait goes on while the health endpoint fails, until its timeout."""
    info = Unwell.spawn()
    try:
        # Its start is no part of the time.
        assert info.url is not None
        with pytest.raises(AppClientError, match="it answers 500"):
            info.wait(startup_timeout=5, health_check_interval=0.1)
    finally:
        info.cancel()
        assert info.future is not None
        info.future.exception(60)


def test_wait_ends_at_a_refusal():
    """A response that will not change ends the wait with its status."""
    info = Refusing.spawn()
    try:
        with pytest.raises(AppClientError, match="unwell") as caught:
            info.wait()
        assert caught.value.status_code == 401
    finally:
        info.cancel()
        assert info.future is not None
        info.future.exception(60)
