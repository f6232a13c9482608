"""
Led runners: the released clients have host names in their code, which lead to the server inside
runners.
"""

from __future__ import annotations

import pytest

APPS = """
import os
import fal
import fal_client
import requests
from fal.toolkit.kv import KVStore
from pydantic import BaseModel

class Words(BaseModel):
    text: str

class Spell(fal.App, keep_alive=300, max_concurrency=1):
    machine_type = "XS"
    requirements = ["fal-client"]

    @fal.endpoint("/")
    def spell(self, words: Words) -> dict:
        return {"spelled": list(words.text)}

    @fal.realtime("/realtime")
    def shout(self, words: Words) -> Words:
        return Words(text=words.text.upper())

class Led(fal.App, keep_alive=300, max_concurrency=1):
    machine_type = "XS"
    requirements = ["fal-client", "requests"]

    @fal.endpoint("/")
    def use(self, words: Words) -> dict:
        store = KVStore("led")
        store.set("words", words.text, ttl=60)
        url = fal_client.upload(words.text.encode(), "text/plain", "words.txt")
        with fal_client.realtime("owner/spell") as connection:
            connection.send({"text": words.text})
            shouted = connection.recv()
        shown = {"Authorization": "Key " + os.environ["FAL_KEY"]}
        asked = requests.get("https://rest.fal.ai/users/current", headers=shown, timeout=60)
        return {
            "asked": asked.json()["nickname"],
            "shouted": shouted,
            "kept": store.get("words"),
            "url": url,
            "ran": fal_client.run("owner/spell", arguments={"text": words.text}),
            "subscribed": fal_client.subscribe("owner/spell", arguments={"text": words.text}),
        }
"""


@pytest.fixture(scope="module")
def led(make_applied, tmp_path_factory):
    """A server that leads its runners, with the applications."""
    server = make_applied("--lead-runners")
    folder = tmp_path_factory.mktemp("led")
    (folder / "apps.py").write_text(APPS)
    for name in ("Spell", "Led"):
        server.fal("deploy", f"apps.py::{name}", directory=folder)
    return server


@pytest.mark.usefixtures("newest_clients")
def test_released_clients_in_runners(led):
    """
    In a runner, ``fal_client`` uploads files, calls other applications and connects to them
    with a token, and the toolkit's key-value store keeps values, although nobody has told them
    of the server. Requests trusts it too.
    """
    told = led.python(
        """
        import json
        import fal_client

        told = fal_client.subscribe("owner/led", arguments={"text": "abc"})
        print("JSON " + json.dumps(told))
        """
    )
    spelled = {"spelled": ["a", "b", "c"]}
    url = told.pop("url")
    assert (told.pop("asked"), told.pop("shouted")) == ("owner", {"text": "ABC"})
    assert told == {"kept": "abc", "ran": spelled, "subscribed": spelled}
    with led.client() as client:
        assert client.get(url).text == "abc"
