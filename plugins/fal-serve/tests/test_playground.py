"""
The playground, in a real browser.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import httpx
import pytest
from fastapi import Header, Response, WebSocket
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydantic import BaseModel, Field

from fal_serve import App, endpoint, realtime

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds that the browser may take; most takes a fraction of one.
PATIENCE = 20_000

#: One pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGE = "data:image/png;base64," + base64.b64encode(PNG).decode()

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="There is no chromium here.")


class Corner(BaseModel):
    left: int = 0
    top: int = 0


class Order(BaseModel):
    words: str = Field(
        min_length=2, examples=["zebra", "ant"], description="What is drawn.</p><b>no</b>"
    )
    amount: int = Field(3, ge=1, le=9)
    share: float | None = None
    kind: Literal["oil", "ink"] = "oil"
    quick: bool = False
    image_url: str | None = None
    names: list[str] = []
    corner: Corner = Corner(left=1)
    corners: list[Corner] = []
    place: Corner | None = None
    either: int | str = 1
    numbers: dict[str, float] = {}
    free: Any = None


class Shown(BaseModel):
    text: str = "hello"


class Shop(App, kind="current", name="shop<img src=x onerror=alert(1)>"):
    version = "3.2.1"

    def setup(self) -> None:
        self.gate = asyncio.Event()

    @endpoint("/echo")
    def echo(self, order: Order) -> dict[str, Any]:
        """Say the order back. <script>document.title = "broken"</script>"""
        return order.model_dump()

    @endpoint("/go")
    async def go(self) -> None:
        self.gate.set()
        self.gate = asyncio.Event()

    @endpoint("/stream")
    async def stream(self, shown: Shown) -> AsyncIterator[str]:
        try:
            yield f"{shown.text}, "
            await self.gate.wait()
            yield "and good bye"
        finally:
            print("the stream has ended")

    @endpoint("/steps")
    async def steps(self, count: int = 3) -> AsyncIterator[dict[str, Any]]:
        for step in range(count):
            yield {"step": step, "preview": IMAGE}

    @endpoint("/breaks")
    async def breaks(self) -> AsyncIterator[str]:
        yield "begun"
        raise LookupError("gone")

    @endpoint("/images")
    def images(self) -> dict[str, Any]:
        return {
            "named": {"url": "/raw.bin", "content_type": "image/png"},
            "held": [IMAGE],
        }

    @endpoint("/raw")
    def raw(self) -> Response:
        return Response(PNG, media_type="image/png")

    @endpoint("/bytes")
    def bytes_(self) -> Response:
        return Response(bytes(range(256)), media_type="application/octet-stream")

    @endpoint("/find/{place}")
    def find(self, place: str, many: int, x_token: str = Header("none")) -> list[Any]:
        return [place, many, x_token]

    @realtime("/live")
    async def live(self, order: Order) -> dict[str, Any]:
        return {"said": order.words.upper(), "bytes": PNG, "large": 2**60}

    @endpoint("/chat", is_websocket=True)
    async def chat(self, websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(f"you said {text}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    A browser, which ends with the module.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(serve: Callable[[Any], Any]) -> Any:
    """
    The service that is tried.
    """
    return serve(Shop)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """
    Open the playground of a service at one of its endpoints.

    Whatever a test does, the page asks no other host, and the browser has nothing
    to say against it.
    """
    opened, asked, said = [], [], []

    def begin(url: str, place: str = "", **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append((url, request.url)))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text))
        page.goto(f"{url}/playground#{place}")
        expect(page.locator(".view")).to_be_visible()
        return page

    yield begin
    for context in opened:
        context.close()
    others = [to for url, to in asked if not to.startswith((url, "data:", "blob:"))]
    assert others == []
    # The browser tells of each answer that is an error.
    assert [each for each in said if "Failed to load resource" not in each] == []


@pytest.fixture
def page(open_page: Callable[..., Page], shop: Any) -> Callable[..., Page]:
    """
    Open the playground of the shop.
    """
    return lambda place="POST /echo", **options: open_page(shop.url, place, **options)


def run(page: Page, badge: str) -> None:
    """
    Press Run, and wait until the state of the answer says *badge*.
    """
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".answer .badge")).to_contain_text(badge)


def answer_of(page: Page) -> Any:
    """
    Return the JSON of the answer, as its copy button gives it.
    """
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the answer").click()
    return json.loads(page.evaluate("navigator.clipboard.readText()"))


def field(page: Page, name: str) -> Any:
    """
    Return the control of the field *name*.
    """
    return page.get_by_label(name, exact=True)


# -- forms ---------------------------------------------------------------------------


def test_a_form_becomes_a_request_and_its_answer_is_shown(page):
    """
    Each kind of field sends what was put in, and the rest what it has by default.
    """
    tab = page()

    assert field(tab, "words").input_value() == "zebra"
    field(tab, "words").fill("a \"cat\"\nand 'more' é")
    field(tab, "amount").fill("7")
    field(tab, "kind").select_option("ink")
    field(tab, "quick").check()
    tab.get_by_role("button", name="Add an item to names").click()
    field(tab, "names 1").fill("one")
    tab.get_by_role("button", name="Add an item to names").click()
    field(tab, "names 2").fill("two")
    tab.get_by_role("button", name="Remove names 1").click()
    field(tab, "place").check()
    field(tab, "top").nth(1).fill("5")
    field(tab, "either").select_option("string")
    field(tab, "either").nth(1).fill("text")
    tab.get_by_role("button", name="Add an entry to numbers").click()
    field(tab, "key").fill("pi")
    field(tab, "value").fill("3.5")
    field(tab, "free").fill('{"a": [1, null]}')
    run(tab, "200")

    assert answer_of(tab) == {
        "words": "a \"cat\"\nand 'more' é",
        "amount": 7,
        "share": None,
        "kind": "ink",
        "quick": True,
        "image_url": None,
        "names": ["two"],
        "corner": {"left": 1, "top": 0},
        "corners": [],
        "place": {"left": 0, "top": 5},
        "either": "text",
        "numbers": {"pi": 3.5},
        "free": {"a": [1, None]},
    }


def test_fields_stand_in_the_order_in_which_they_were_written(page):
    """
    A form has the order of its model.
    """
    labels = page().locator(".group.root > .body > * > .heading, .optional .heading")
    order = [text.split("\n")[0] for text in labels.all_inner_texts()]

    assert [each for each in Order.model_fields if each in order[: len(order)]] == [
        each for each in order if each in Order.model_fields
    ]
    assert order[:3] == ["words", "amount", "share"]


def test_form_and_json_show_the_same_input(page):
    """
    What is typed into one of the two is in the other.
    """
    tab = page()
    field(tab, "amount").fill("8")
    tab.get_by_role("tab", name="JSON").click()
    raw = tab.get_by_label("Input as JSON")
    assert json.loads(raw.input_value())["amount"] == 8

    raw.fill(json.dumps({"words": "from JSON", "corners": [{"left": 4}], "unknown": 1}))
    tab.get_by_role("tab", name="Form").click()
    assert field(tab, "words").input_value() == "from JSON"
    assert field(tab, "left").nth(1).input_value() == "4"
    assert json.loads(field(tab, "other fields").input_value()) == {"unknown": 1}

    tab.get_by_role("tab", name="JSON").click()
    assert json.loads(raw.input_value())["unknown"] == 1


def test_what_is_no_json_is_not_sent(page):
    """
    A text that is not JSON is told beside it, and keeps the request from being made.
    """
    tab = page()
    tab.get_by_role("tab", name="JSON").click()
    tab.get_by_label("Input as JSON").fill('{"words": ')
    tab.get_by_role("button", name="Run", exact=True).click()

    expect(tab.locator(".actions .error")).to_contain_text("not JSON")
    expect(tab.locator(".answer .badge")).to_have_count(0)


def test_errors_stand_beside_the_fields_that_they_name(page):
    """
    A 422 is shown at each wrong field, until that field is changed.
    """
    tab = page()
    field(tab, "words").fill("x")
    tab.get_by_role("button", name="Add an item to corners").click()
    field(tab, "left").nth(1).fill("1.5")
    run(tab, "422")

    words = tab.locator(".field", has=field(tab, "words"))
    expect(words.locator(".error")).to_contain_text("at least 2 characters")
    expect(field(tab, "words")).to_have_attribute("aria-invalid", "true")
    left = tab.locator(".item .field", has=field(tab, "left"))
    expect(left.locator(".error")).to_contain_text("integer")
    tab.get_by_role("button", name="corners.0.left").click()
    expect(field(tab, "left").nth(1)).to_be_focused()

    field(tab, "words").fill("xy")
    expect(words.locator(".error")).to_be_hidden()


def test_a_file_becomes_a_data_url(page, tmp_path):
    """
    A field that names an image takes a file, shows it, and sends it as a url.
    """
    (tmp_path / "pixel.png").write_bytes(PNG)
    tab = page()
    with tab.expect_file_chooser() as chosen:
        tab.get_by_role("button", name="Choose a file for image_url").click()
    chosen.value.set_files(tmp_path / "pixel.png")
    expect(tab.locator(".preview img")).to_be_visible()
    run(tab, "200")

    assert answer_of(tab)["image_url"] == IMAGE


def test_parameters_of_path_query_and_header_are_fields(page):
    """
    What is no body is asked for as well, and put where it belongs.
    """
    tab = page("POST /find/{place}")
    tab.get_by_role("button", name="Run", exact=True).click()
    expect(tab.locator(".actions .error")).to_contain_text("place")

    field(tab, "place").fill("a/b c?")
    field(tab, "many").fill("4")
    field(tab, "x-token").fill("secret")
    field(tab, "place").fill("a b?&")
    run(tab, "200")
    assert answer_of(tab) == ["a b?&", 4, "secret"]


# -- answers -------------------------------------------------------------------------


def test_a_stream_is_seen_before_its_end(page, shop):
    """
    Text of an answer that is not complete is there, and the rest follows it.
    """
    tab = page("POST /stream")
    run(tab, "event")
    expect(tab.locator(".streamed")).to_have_text("hello, ")
    expect(tab.get_by_role("button", name="Cancel")).to_be_enabled()

    shop.post("/go")
    expect(tab.locator(".answer .badge")).to_have_text("200 OK")
    expect(tab.locator(".streamed")).to_have_text("hello, and good bye")
    expect(tab.locator("#announcements")).to_contain_text("hello, and good bye")


def test_cancel_ends_the_request_at_the_service(page, shop):
    """
    Cancel keeps what has come, and the handler is told that nobody waits.
    """
    tab = page("POST /stream")
    run(tab, "event")
    tab.get_by_role("button", name="Cancel").click()

    expect(tab.locator(".answer .badge")).to_have_text("Cancelled")
    expect(tab.locator(".streamed")).to_have_text("hello, ")
    expect(tab.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    shop.find_line("the stream has ended")


def test_events_that_are_no_text_are_rows(page):
    """
    Each event is a row, and the newest of their images is shown.
    """
    tab = page("POST /steps")
    field(tab, "count").fill("4")
    run(tab, "200")

    expect(tab.locator(".rows > li")).to_have_count(4)
    expect(tab.locator(".gallery img")).to_have_count(1)


def test_a_stream_that_breaks_is_told_from_one_that_ends(page):
    """
    What came before stands there, with the news that it is not all.
    """
    tab = page("POST /breaks")
    run(tab, "Broken off")

    expect(tab.locator(".streamed")).to_have_text("begun")
    expect(tab.locator(".failure").first).to_contain_text("Internal Server Error")


def is_loaded(image: Any) -> bool:
    image.scroll_into_view_if_needed()
    return bool(
        image.evaluate(
            "async (image) => { await image.decode(); return image.naturalWidth > 0; }"
        )
    )


def test_images_of_an_answer_are_shown(page):
    """
    A data url is shown, as is an object with a url and the type of an image.
    """
    tab = page("POST /images")
    run(tab, "200")

    expect(tab.locator(".gallery img")).to_have_count(2)
    assert is_loaded(tab.locator(f'.gallery img[src="{IMAGE}"]'))
    expect(tab.locator('.gallery img[src="/raw.bin"]')).to_have_count(1)


def test_an_answer_that_is_an_image_is_shown(page):
    """
    The bytes of an image are an image.
    """
    tab = page("POST /raw")
    run(tab, "200")

    assert is_loaded(tab.locator(".gallery img"))


def test_bytes_are_a_download(page):
    """
    What the page cannot show is saved, as it came.
    """
    tab = page("POST /bytes")
    run(tab, "200")
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Download").click()

    assert saved.value.path().read_bytes() == bytes(range(256))


def test_request_id_and_headers_are_shown(page):
    """
    The id by which the log knows the request can be copied; headers unfold.
    """
    tab = page("POST /images")
    run(tab, "200")
    tab.get_by_text("headers").click()
    shown = tab.locator(".headers dl").inner_text()

    assert tab.locator(".request-id code").inner_text() in shown
    assert "content-type" in shown


# -- websockets ----------------------------------------------------------------------


def test_realtime_speaks_msgpack(page):
    """
    A message is made by the form, goes as msgpack, and the answer's bytes are shown.
    """
    tab = page("WS /live")
    field(tab, "words").fill("loud")
    tab.get_by_role("button", name="Send").click()

    answer = tab.locator("li.received")
    expect(answer).to_contain_text('"LOUD"')
    expect(answer).to_contain_text(str(2**60))
    assert is_loaded(tab.locator(".gallery img"))
    tab.get_by_role("button", name="Disconnect").click()
    expect(tab.locator(".answer .badge")).to_have_text("Disconnected")


def test_a_message_that_is_refused_says_why(page):
    """
    The reason that the service gives stands among the messages.
    """
    tab = page("WS /live")
    field(tab, "words").fill("x")
    tab.get_by_role("button", name="Send").click()

    expect(tab.locator("li.refused")).to_contain_text("VALIDATION_ERROR")
    expect(tab.locator(".answer .badge")).to_have_text("Disconnected")


def test_a_plain_websocket_is_spoken_to_in_text(page):
    """
    A websocket endpoint takes what is typed, as JSON or as the text itself.
    """
    tab = page("WS /chat")
    field(tab, "input").fill('"hi"')
    tab.get_by_role("button", name="Send").click()
    expect(tab.locator("li.received")).to_contain_text("you said")
    tab.get_by_label("as", exact=True).select_option("text")
    tab.get_by_role("button", name="Send").click()

    expect(tab.locator("li.received").nth(1)).to_contain_text('"you said hi"')


# -- elsewhere -----------------------------------------------------------------------


def copied(page: Page, language: str) -> str:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=f"Copy as {language}").click()
    expect(page.locator("#announcements")).to_have_text(f"Copied as {language}.")
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_copied_call_does_the_same_elsewhere(page, tmp_path):
    """
    What is copied runs as it stands, whatever was typed.
    """
    words = 'it\'s "two"\n\\lines é 😀 $HOME `x`'
    tab = page()
    field(tab, "words").fill(words)
    field(tab, "quick").check()
    program = copied(tab, "Python")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program.replace("print(response.json())", "print(response.text)"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["words"] == words
    assert json.loads(done.stdout)["quick"] is True

    command = copied(tab, "curl")
    if shutil.which("curl") is not None:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["words"] == words


def test_a_copied_conversation_does_the_same_elsewhere(page):
    """
    The program that is copied of a realtime endpoint sends what was typed.
    """
    tab = page("WS /live")
    field(tab, "words").fill("quiet")
    program = copied(tab, "Python").replace("print(", "print(end='', *[") + "])"
    program = copied(tab, "Python") + "        break\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "QUIET" in done.stdout


# -- the page ------------------------------------------------------------------------


def test_all_can_be_done_by_keyboard(page):
    """
    An endpoint is found, filled in and run without a mouse, and the focus is seen.
    """
    tab = page("POST /images")
    tab.keyboard.press("/")
    expect(tab.get_by_label("Search endpoints")).to_be_focused()
    tab.keyboard.type("echo")
    expect(tab.locator("#endpoints a:visible")).to_have_count(1)
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="Echo")).to_be_visible()

    reached = []
    while "words" not in reached:
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.labels?.[0]?.innerText ?? ''"))
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        assert len(reached) < 20
    tab.keyboard.press("Control+a")
    tab.keyboard.type("typed")
    tab.keyboard.press("Control+Enter")
    expect(tab.locator(".answer .badge")).to_have_text("200 OK")

    assert answer_of(tab)["words"] == "typed"


def test_tabs_are_changed_by_arrow_keys(page):
    """
    Of a row of tabs one takes the focus, and arrows go to the next.
    """
    tab = page()
    tab.get_by_role("tab", name="Form").focus()
    tab.keyboard.press("ArrowRight")

    expect(tab.get_by_role("tab", name="JSON")).to_be_focused()
    expect(tab.get_by_label("Input as JSON")).to_be_visible()


@pytest.mark.parametrize("place", ["POST /echo", "POST /images", "POST /stream", "WS /live"])
def test_a_phone_needs_no_sideways_scrolling(page, place):
    """
    At a width of 360 px nothing is wider than the page, before and after an answer.
    """
    tab = page(place, viewport={"width": 360, "height": 740})
    wide = "document.documentElement.scrollWidth"
    assert tab.evaluate(wide) == 360

    name = "Send" if place.startswith("WS") else "Run"
    tab.get_by_role("button", name=name, exact=True).click()
    expect(tab.locator("li.received, .tree, .streamed").first).to_be_visible()
    assert tab.evaluate(wide) == 360

    tab.get_by_role("button", name="Endpoints").click()
    expect(tab.get_by_label("Search endpoints")).to_be_visible()
    assert tab.evaluate(wide) == 360


def brightness(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    parts = [float(each) for each in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(parts) / 3


def test_light_and_dark_follow_the_system_or_the_user(page):
    """
    Colours are those of the system, until the user says otherwise; that is kept.
    """
    assert brightness(page(color_scheme="light")) > 200
    dark = page(color_scheme="dark")
    assert brightness(dark) < 60

    dark.get_by_role("button", name="Colours").click()
    assert brightness(dark) > 200
    dark.reload()
    expect(dark.locator(".view")).to_be_visible()
    assert brightness(dark) > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme):
    """
    Text stands out from its ground by at least 4.5 to 1, in light and dark.
    """
    tab = page(color_scheme=scheme)
    field(tab, "words").fill("x")
    run(tab, "422")
    weak = tab.evaluate(CONTRASTS)

    assert weak == []


CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => each / 255)
      .map((each) => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const weak = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, script, noscript, .visually-hidden")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


def test_everything_has_a_name(page):
    """
    Each control can be told by those who do not see it.
    """
    tab = page()
    tab.get_by_role("button", name="Add an item to corners").click()
    nameless = tab.evaluate("""() => [...document.querySelectorAll("button, input, select, textarea, a")]
      .filter((each) => each.checkVisibility() && !each.ariaLabel && !each.labels?.length && !each.innerText.trim())
      .map((each) => each.outerHTML)""")

    assert nameless == []


def test_words_of_the_document_are_only_text(page):
    """
    What a document says is shown as it is, and none of it becomes a part of the page.
    """
    tab = page()

    expect(tab.locator("#name")).to_have_text("shop<img src=x onerror=alert(1)>")
    expect(tab.locator(".description")).to_contain_text('<script>document.title = "broken"')
    assert "broken" not in tab.title()
    assert tab.locator(".side img, .form b").count() == 0


def test_a_page_that_is_loaded_again_keeps_what_was_typed(page):
    """
    Loading the page once more loses no input.
    """
    tab = page()
    field(tab, "words").fill("still here")
    tab.reload()

    expect(field(tab, "words")).to_have_value("still here")


SOURCE = """\
from pydantic import BaseModel
from fal_serve import App, endpoint


class Input(BaseModel):
    text: str = "begun"
    amount: int = 1


class Changing(App, kind="current"):
    @endpoint("/first")
    def first(self, input: Input) -> Input:
        return input
"""


def test_a_service_that_starts_again_is_read_anew(open_page, tmp_path):
    """
    The page says that the service has gone, goes on when it is back, and shows what is
    new with what was typed before.
    """
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "changing.py").write_text(SOURCE)
    command = [sys.executable, "-m", "fal_core.cli", "run", "changing.py::Changing"]

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        while f"{port}/playground" not in process.stdout.readline():
            assert process.poll() is None
        return process

    process = start()
    try:
        tab = open_page(f"http://127.0.0.1:{port}")
        field(tab, "text").fill("typed")
        process.terminate()
        process.communicate(timeout=30)
        expect(tab.locator("#state")).to_contain_text("Gone")
        expect(tab.locator("#lost")).to_be_visible()

        changed = SOURCE.replace("amount: int = 1", "amount: int = 5\n    added: bool = True")
        (tmp_path / "changing.py").write_text(changed)
        process = start()
        expect(tab.locator("#state")).to_have_text("Running")
        expect(field(tab, "added")).to_be_checked()
        expect(field(tab, "text")).to_have_value("typed")
        expect(field(tab, "amount")).to_have_value("5")
        run(tab, "200")
        assert answer_of(tab) == {"text": "typed", "amount": 5, "added": True}
    finally:
        process.kill()
        process.communicate()


# -- how it is served ----------------------------------------------------------------


def test_the_page_may_do_little(shop):
    """
    The page's headers allow its own script and style, and nothing that comes as text.
    """
    answer = httpx.get(f"{shop.url}/playground")
    policy = answer.headers["content-security-policy"]

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert len(answer.content) < 1 << 20


def test_the_page_is_sent_once(shop):
    """
    A browser that has the page is told that it has not changed.
    """
    first = httpx.get(f"{shop.url}/playground")
    again = httpx.get(
        f"{shop.url}/playground", headers={"if-none-match": first.headers["etag"]}
    )

    assert (again.status_code, again.content) == (304, b"")


def test_a_service_tells_where_its_playground_is(shop):
    """
    The url is among those of the service, and the document does not have it.
    """
    assert shop.info.urls["playground"] == f"{shop.url}/playground"
    assert "/playground" not in httpx.get(f"{shop.url}/openapi.json").text


def test_pages_that_stay_open_do_not_fill_the_log(serve_with, wait_for_line):
    """
    What each open page asks every few seconds is left out of the access log.
    """

    def nothing() -> None: ...

    service = serve_with(nothing)
    assert httpx.get(f"{service.url}/playground/state").status_code == 200
    assert httpx.get(f"{service.url}/playground").status_code == 200

    line = wait_for_line(service, method="GET")
    assert line["path"] == "/playground"


@pytest.mark.parametrize("value", ["0", "off", "False"])
def test_the_playground_can_be_left_out(serve_with, monkeypatch, value):
    """
    A variable says no, and the page is not there, nor its url.
    """
    from fal_core import function

    @function("current", serve=True)
    def plain() -> int:
        return 1

    monkeypatch.setenv("FAL_SERVE_PLAYGROUND", value)
    info = plain.spawn()
    try:
        assert httpx.get(f"{info.url}/playground").status_code == 404
        assert "playground" not in info.urls
    finally:
        info.cancel()
        assert info.future.exception(30) is not None


def test_the_page_travels_to_environments(serve):
    """
    The files of the page go with the service to where nothing is installed.
    """
    from fal_core import function

    @function("virtualenv", serve=True)
    def far() -> int:
        return 1

    served = serve(far)
    assert "</html>" in served.client.get("/playground").text
