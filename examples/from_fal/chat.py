"""Streams: an answer in pieces, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import fal_compat as fal


class Question(BaseModel):
    prompt: str
    max_tokens: int = 16


class Chat(fal.App):
    machine_type = "S"
    request_timeout = 60

    async def tokens(self, question: Question) -> AsyncIterator[str]:
        for word in question.prompt.split()[: question.max_tokens]:
            yield word.upper()

    @fal.endpoint("/")
    async def answer(self, question: Question) -> dict[str, str]:
        return {"output": " ".join([token async for token in self.tokens(question)])}

    @fal.endpoint("/stream")
    async def stream(self, question: Question):
        async def events():
            async for token in self.tokens(question):
                yield f"data: {json.dumps({'output': token})}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")
