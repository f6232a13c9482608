"""What the handlers of endpoints use."""

from fal_serve import cancel_on_disconnect as cancel_on_disconnect
