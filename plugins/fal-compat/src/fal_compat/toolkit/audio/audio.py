"""Sounds."""

from fal_serve.media.fields import AudioField as AudioField
from fal_serve.media.images import Audio as Audio
