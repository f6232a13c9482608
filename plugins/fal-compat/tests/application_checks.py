"""What the applications of ``examples/from_fal`` answer, wherever they are served."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import httpx
import msgpack
from websockets.sync.client import connect

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "from_fal"

#: The applications: the file and the class of each.
APPLICATIONS = {
    "text_to_image": "TextToImage",
    "image_to_image": "ImageToImage",
    "voices": "Voices",
    "own_image": "OwnImage",
    "live_drawing": "LiveDrawing",
    "chat": "Chat",
    "lifecycle": "Lifecycle",
    "crowd": "Crowd",
    "well_being": "WellBeing",
    "confidential": "Confidential",
    "studio": "Studio",
    "weights": "Weights",
}

SECRET = "a token that nobody guesses"

#: Seconds that an answer may take; most take a fraction of one.
PATIENCE = 120


@attrs.frozen(kw_only=True)
class Served:
    """
    An application that is served.

    Attributes:
        url: Its URL.

        headers: What authorizes requests to it.

        end: Ends it, once it has answered its requests.
    """

    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    folder: Path
    end: Callable[[], None]

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a request."""
        headers = {**self.headers, **options.pop("headers", {})}
        url = self.url.rstrip("/") + path
        return httpx.post(
            url, json=body, headers=headers, timeout=PATIENCE, trust_env=False, **options
        )

    def ask(self, path: str, body: Any = None, **options: Any) -> Any:
        """Send a request, and return its answer."""
        answer = self.post(path, body, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """Open a websocket."""
        url = self.url.rstrip("/").replace("http", "ws", 1) + path
        with connect(url, additional_headers=dict(self.headers), proxy=None) as socket:
            yield socket


def read(url: str) -> bytes:
    """Return the file at a URL of an answer, which anybody may read."""
    if url.startswith("data:"):
        return base64.b64decode(url.partition(",")[2])
    answer = httpx.get(url, timeout=PATIENCE, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


def picture_url(size: tuple[int, int] = (8, 4)) -> str:
    """Return the data URL of an image."""
    from PIL import Image

    with io.BytesIO() as file:
        Image.new("RGB", size, "red").save(file, "PNG")
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def check_text_to_image(served: Served) -> None:
    """The same seed gives the same image at the same URL; one that was asked for is in its URL."""
    asked = {"prompt": "a square", "seed": 7, "image_size": {"width": 16, "height": 8}}
    one, two = served.ask("/", asked), served.ask("/", {**asked, "num_images": 2})
    [image], [same, other] = one["images"], two["images"]
    assert (image["width"], image["height"], image["content_type"]) == (16, 8, "image/png")
    assert image == same
    assert read(image["url"]).startswith(b"\x89PNG")
    assert read(other["url"]) != read(image["url"])
    [inside] = served.ask("/", {**asked, "sync_mode": True})["images"]
    assert read(inside["url"]) == read(image["url"])
    # An image that is to be kept for a microsecond.
    wish = {"x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": 1e-6}'}
    [gone] = served.ask("/", {**asked, "seed": 99}, headers=wish)["images"]
    assert httpx.get(gone["url"], timeout=PATIENCE, trust_env=False).status_code == 404
    refused = served.post("/", {**asked, "image_size": "huge"})
    assert refused.status_code == 422
    document = httpx.get(
        served.url.rstrip("/") + "/openapi.json", headers=dict(served.headers), trust_env=False
    ).json()
    [schema] = [
        each
        for name, each in document["components"]["schemas"].items()
        if name.startswith("Input")
    ]
    assert schema["x-fal-order-properties"][:2] == ["prompt", "image_size"]
    assert schema["properties"]["sync_mode"]["ui"] == {"hidden": True}


def check_image_to_image(served: Served) -> None:
    """
    An image is taken as data and by its URL here, and a URL that is none is the caller's
    mistake.
    """
    first = served.ask("/", {"image_url": picture_url()})["image"]
    assert (first["width"], first["height"], first["file_name"]) == (4, 8, "turned.png")
    masked = {"image_url": first["url"], "mask": picture_url((4, 8)), "angle": 180}
    second = served.ask("/", masked)["image"]
    assert (second["width"], second["height"]) == (4, 8)
    wrong = served.post("/", {"image_url": first["url"], "angle": 45})
    assert wrong.json()["detail"][0]["loc"] == ["body", "angle"]
    other = served.post("/", {"image_url": first["url"], "mask": picture_url()})
    assert (other.status_code, other.json()["detail"]) == (400, "The mask has another size.")
    for url, said in (
        ("data:image/png;base64,AAAA", "The image cannot be read"),
        ("http://10.0.0.1/a.png", "is of this machine or of a private network"),
    ):
        answer = served.post("/", {"image_url": url})
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text


def check_voices(served: Served) -> None:
    """Sounds and texts are kept, and an archive and a file are read."""
    told = served.ask("/speak?text=hello", None)
    audio, transcript = told["audio"], told["transcript"]
    assert read(audio["url"])[:4] == b"RIFF"
    assert (audio["content_type"], audio["file_name"]) == ("audio/wav", "speech.wav")
    assert read(transcript["url"]) == b"hello"
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "one")
            archive.writestr("b.bin", "two")
        packed = base64.b64encode(file.getvalue()).decode()
    sent = {"archive": f"data:application/zip;base64,{packed}", "sample": audio["url"]}
    assert served.ask("/train", sent) == {"a.txt": 3, "sample": audio["file_size"]}
    assert served.post("/train", {"archive": transcript["url"]}).status_code == 422


def check_own_image(served: Served) -> None:
    """An application with an image answers."""
    assert served.ask("/?name=you")["greeting"].endswith(", you")


def check_live_drawing(served: Served) -> None:
    """Each message of a websocket is answered, and a stream of them."""
    with served.open("/realtime") as socket:
        for count in (1, 2):
            socket.send(msgpack.packb({"x": 3.0, "y": 4.0, "picture": b"ab"}))
            drawn = msgpack.unpackb(socket.recv(PATIENCE))
            assert drawn == {"count": count, "length": 5.0, "picture": b"ba"}
    with served.open("/sums") as socket:
        for total in (1.5, 3.0):
            socket.send(msgpack.packb({"x": 1.5, "y": 0}))
            assert msgpack.unpackb(socket.recv(PATIENCE))["length"] == total


def check_chat(served: Served) -> None:
    """An answer comes whole, and in pieces."""
    question = {"prompt": "one two three", "max_tokens": 2}
    assert served.ask("/", question) == {"output": "ONE TWO"}
    lines = served.post("/stream", question).text.split("\n\n")
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert told == [{"output": "ONE"}, {"output": "TWO"}]


def check_lifecycle(served: Served) -> None:
    """The setup comes before the first request, and the teardown after the last one."""
    journal = served.folder / "journal"
    assert served.ask(f"/?path={journal}") == {"states": ["SETUP", "RUNNING"]}
    served.end()
    assert journal.read_text().splitlines() == ["answered", "asked to end", "let go"]


def check_crowd(served: Served) -> None:
    """One runner answers several requests at the same time."""
    with ThreadPoolExecutor(3) as threads:
        answers = [*threads.map(lambda _: served.post("/meet?others=3"), range(3))]
    assert [each.status_code for each in answers] == [200] * 3
    assert {each.json()["here"] for each in answers} == {3}


def check_well_being(served: Served) -> None:
    """The health is answered, and errors have the status and the words that they were given."""
    assert served.ask("/is-well") == {"well": True}
    assert served.ask("/fail", {}) == {"cause": "none"}
    told = {}
    for cause in ("caller", "field", "memory"):
        answer = served.post("/fail", {"cause": cause})
        told[cause] = (answer.status_code, str(answer.json()["detail"]))
    assert told["caller"] == (403, "You may not do that.")
    assert told["field"][0] == 422
    assert "It is wrong." in told["field"][1]
    assert told["memory"] == (503, "CUDA error: out of memory")


def check_confidential(served: Served) -> None:
    """The application has its secret."""
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert served.ask("/") == {"digest": digest}


def check_studio(served: Served) -> None:
    """Endpoints of a class and its base are answered, and know their requests."""
    word = {"text": "word"}
    assert served.ask("/", word) == word
    assert served.ask("/describe", word) == {"text": "studio: word"}
    upper = served.post("/upper", word)
    assert (upper.json(), upper.headers["x-fal-billable-units"]) == ({"text": "WORD"}, "4")
    told = served.ask("/context", headers={"x-mine": "1"})
    assert told["mine"] == "1"
    assert told["id"]


def check_weights(served: Served) -> None:
    """
    Weights and a repository are there, what cannot be downloaded says why, and the store
    remembers.
    """
    told = served.ask("/")
    assert told == {
        "weights": "heavy",
        "file": "model.txt",
        "folder": "configurations",
        "repository": ".git the_model.py",
    }
    assert "answered with 404" in served.ask("/missing")["error"]


def check_store(served: Served) -> None:
    """The key-value store has a value until it is removed."""
    assert served.ask("/remember?key=a&value=b") == {"found": "b", "then": None}


CHECKS: dict[str, Callable[[Served], None]] = {
    name: globals()[f"check_{name}"] for name in APPLICATIONS
}


@contextmanager
def serve_weights(folder: Path) -> Iterator[dict[str, str]]:
    """Serve weights and a repository, and yield the variables that lead to them."""
    site = folder / "site"
    site.mkdir()
    (site / "model.txt").write_text("heavy")
    repository = folder / "model.git"
    repository.mkdir()
    (repository / "the_model.py").write_text("")
    git = shutil.which("git") or "git"
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([git, *who, *words], cwd=repository, check=True)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(site))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield {
            "WEIGHTS_URL": f"http://{host}/model.txt",
            "REPOSITORY_URL": str(repository),
            "FAL_SERVE_DOWNLOAD_HOSTS": host,
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
