"""What the handlers of endpoints use."""

from __future__ import annotations

from fal_serve import cancel_on_disconnect

__all__ = ["cancel_on_disconnect"]
