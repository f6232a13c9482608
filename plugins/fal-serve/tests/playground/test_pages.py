"""The page of the playground, and how it is served."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
from playwright.sync_api import Page, expect

from fal_core_worker.serving.ports import free_port


def test_all_can_be_done_by_keyboard(page, answer_of):
    """An endpoint can be found, filled in and run by keyboard, with a visible focus."""
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
    """One tab of a row takes the focus, and arrow keys move to the others."""
    tab = page()
    tab.get_by_role("tab", name="Form").focus()
    tab.keyboard.press("ArrowRight")

    expect(tab.get_by_role("tab", name="JSON")).to_be_focused()
    expect(tab.get_by_label("Input as JSON")).to_be_visible()


@pytest.mark.parametrize("place", ["POST /echo", "POST /images", "POST /stream", "WS /live"])
def test_a_phone_needs_no_sideways_scrolling(page, place):
    """At a width of 360 px nothing is wider than the page, before and after a response."""
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


def test_long_example_is_cut_at_its_end_alone(page):
    """A long example is truncated at its end."""
    tab = page("POST /echo", viewport={"width": 280, "height": 740})
    chip = tab.get_by_role("button", name="a giraffe that looks")
    start, end = chip.evaluate(
        """chip => {
          const range = document.createRange();
          range.selectNodeContents(chip.firstElementChild ?? chip);
          const text = range.getBoundingClientRect();
          const box = chip.getBoundingClientRect();
          return [text.left - box.left, box.right - text.right];
        }"""
    )
    assert start >= 5
    assert end < 0
    style = "chip => getComputedStyle(chip.firstElementChild).textOverflow"
    assert chip.evaluate(style) == "ellipsis"


def brightness(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    parts = [float(each) for each in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(parts) / 3


def test_light_and_dark_follow_the_system_or_the_user(page):
    """The colour scheme is the system's until the user chooses another, which is kept."""
    assert brightness(page(color_scheme="light")) > 200
    dark = page(color_scheme="dark")
    assert brightness(dark) < 60

    dark.get_by_role("button", name="Colours").click()
    assert brightness(dark) > 200
    dark.reload()
    expect(dark.locator(".view")).to_be_visible()
    assert brightness(dark) > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme, run, field):
    """Text has a contrast of at least 4.5 to 1, in light and dark."""
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
    const passed = ":disabled, script, noscript, .visually-hidden";
    if (!own || !element.checkVisibility() || element.closest(passed)) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, a")]
  .filter((each) => each.checkVisibility() && !each.ariaHidden)
  .filter((each) => !each.ariaLabel && !each.labels?.length && !each.innerText.trim())
  .map((each) => each.outerHTML)"""


def test_everything_has_a_name(page):
    """Each control has an accessible name."""
    tab = page()
    tab.get_by_role("button", name="Add an item to corners").click()
    nameless = tab.evaluate(NAMELESS)

    assert nameless == []


def test_words_of_the_document_are_only_text(page):
    """Texts of the document are shown as text, and never parsed as HTML."""
    tab = page()

    expect(tab.locator("#name")).to_have_text("shop<img src=x onerror=alert(1)>")
    expect(tab.locator(".description")).to_contain_text('<script>document.title = "broken"')
    assert "broken" not in tab.title()
    assert tab.locator(".side img, .form b").count() == 0


def test_a_page_that_is_loaded_again_keeps_what_was_typed(page, field):
    """Reloading the page keeps all input."""
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


def test_a_service_that_starts_again_is_read_anew(open_page, tmp_path, run, answer_of, field):
    """
    The page says that the service is gone, continues when it is back, and shows the new
    document with the earlier input.
    """
    port = free_port()
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
        process.communicate(timeout=60)
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


def test_the_page_may_do_little(shop):
    """The page's headers allow only its own script and style."""
    answer = httpx.get(f"{shop.url}/playground")
    policy = answer.headers["content-security-policy"]

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert len(answer.content) < 1 << 20


def test_the_page_is_sent_once(shop):
    """A browser that has the page gets a 304."""
    first = httpx.get(f"{shop.url}/playground")
    again = httpx.get(
        f"{shop.url}/playground", headers={"if-none-match": first.headers["etag"]}
    )

    assert (again.status_code, again.content) == (304, b"")


def test_a_service_tells_where_its_playground_is(serve_with):
    """The playground's URL is among those of the service, and not in the document."""

    def nothing() -> None: ...

    service = serve_with(nothing)
    url = service.url
    assert service.urls["playground"] == f"{url}/playground"
    assert "/playground" not in httpx.get(f"{url}/openapi.json").text


def test_pages_that_stay_open_do_not_fill_the_log(serve_with, wait_for_line):
    """The requests of open pages are left out of the access log."""

    def nothing() -> None: ...

    service = serve_with(nothing)
    assert httpx.get(f"{service.url}/playground/state").status_code == 200
    assert httpx.get(f"{service.url}/playground").status_code == 200

    line = wait_for_line(service, method="GET")
    assert line["path"] == "/playground"


@pytest.mark.parametrize("value", ["0", "off", "False"])
def test_the_playground_can_be_left_out(serve_with, monkeypatch, value):
    """A variable disables the page and its URL."""
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
    """The files of the page are shipped with the service."""
    from fal_core import function

    @function("virtualenv", serve=True)
    def far() -> int:
        return 1

    served = serve(far)
    assert "</html>" in served.client.get("/playground").text
