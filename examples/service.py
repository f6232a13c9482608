"""
A service with a JSON endpoint, a stream and a realtime route.

Run it with ``python3 dev.py service``, or where fal-core and fal-serve are installed::

    fal-core run examples/service.py --port 8000 --reload

and call it as ``examples/call_service.py`` does, by its page ``/playground``, or with curl::

    curl localhost:8000/count -H 'content-type: application/json' -d '{"text": "to be or not"}'
    curl -N localhost:8000/words -H 'content-type: application/json' -d '{"text": "to be"}'
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pydantic import BaseModel, Field

from fal_serve import App, FieldException, endpoint, realtime


class Text(BaseModel):
    text: str = Field(
        min_length=1, description="What is read.", examples=["to be or not to be"]
    )


class Counts(BaseModel):
    words: int
    letters: int
    size: str = Field(description="As people say it.")


class Reader(App, kind="virtualenv", requirements=["humanize==4.12.3"]):
    """Reads texts. Its requirement is not in the environment of whoever runs it."""

    version = "1.0"
    max_multiplexing = 8

    def setup(self) -> None:
        import humanize

        self.size = humanize.naturalsize
        print("The reader is ready.")

    @endpoint("/count")
    def count(self, text: Text) -> Counts:
        """Count the words and letters of a text."""
        words = text.text.split()
        if not words:
            raise FieldException("text", "There is no word in it.")
        letters = sum(map(len, words))
        print(f"counted {len(words)} words")
        return Counts(words=len(words), letters=letters, size=self.size(letters))

    @endpoint("/words")
    def words(self, text: Text) -> Iterator[str]:
        """Stream the words of a text, slowly."""
        for word in text.text.split():
            time.sleep(0.2)
            yield word

    @realtime("/shout")
    def shout(self, text: Text) -> Text:
        """Answer each text in capitals."""
        return Text(text=text.text.upper())
