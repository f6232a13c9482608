"""Start the service of ``examples/service.py``, call all it has, and end it."""

from __future__ import annotations

from service import Reader, Text

from fal_serve import AppClient


def main() -> None:
    """Call the service by a client that has a method for each endpoint."""
    with AppClient.connect(Reader) as client:
        counts = client.count(Text(text="to be or not to be"))
        print(f"{counts.words} words of {counts.letters} letters, {counts.size}")
        for word in client.words(Text(text="one by one")):
            print("streamed", word)
        with client.shout() as session:
            print("realtime", session(Text(text="ahoy")).text)


if __name__ == "__main__":
    main()
