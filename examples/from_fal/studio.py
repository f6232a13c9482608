"""Many endpoints: of one class and its base, with the request that each answers."""

from __future__ import annotations

from fastapi import Response
from pydantic import BaseModel

import fal_compat as fal


class Word(BaseModel):
    text: str


class Base(fal.App):
    machine_type = "S"
    prefix = "base"

    @fal.endpoint("/describe")
    def describe(self, word: Word) -> dict[str, str]:
        return {"text": f"{self.prefix}: {word.text}"}


class Studio(Base, keep_alive=300):
    """Words in several ways."""

    app_name = "studio"
    prefix = "studio"

    @fal.endpoint("/")
    def default(self, word: Word) -> dict[str, str]:
        return {"text": word.text}

    @fal.endpoint("/upper")
    def upper(self, word: Word, response: Response) -> dict[str, str]:
        response.headers["x-fal-billable-units"] = str(len(word.text))
        return {"text": word.text.upper()}

    @fal.endpoint("/context")
    async def context(self) -> dict[str, str | None]:
        request = self.current_request
        assert request is not None
        return {"id": request.request_id, "mine": request.headers.get("x-mine")}
