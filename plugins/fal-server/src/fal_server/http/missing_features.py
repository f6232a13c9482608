"""
Missing features: routes of fal's service that this server does not have.

They are answered with 501, and not with 404, which released clients take for a value or a
file that does not exist: what they were to store would be lost in silence.
"""

from __future__ import annotations

import logging

import attrs
from aiohttp import web

logger = logging.getLogger(__name__)

#: Features that released clients ask for, by the beginning of their paths.
_FEATURES = (("/requests/billable-units/", "bills"),)


@attrs.define
class MissingFeatures:
    """Answers requests for routes that there are not."""

    _warned: set[str] = attrs.field(factory=set)

    def answer(self, request: web.Request) -> web.Response:
        """
        Return the 501 for a route that there is not, and log what was asked for: the first
        time as a warning. The path itself is not logged, as it may have a token.
        """
        feature = _find_feature(request.path)
        level = logging.INFO if feature in self._warned else logging.WARNING
        self._warned.add(feature)
        sentence = f"This server does not have {feature}."
        logger.log(level, "A client was refused: %s", sentence)
        # The key-value store of the released toolkit reads another name than all others.
        return web.json_response({"detail": sentence, "error": sentence}, status=501)


def _find_feature(path: str) -> str:
    for beginning, feature in _FEATURES:
        if path.startswith(beginning):
            return feature
    return "this route"
