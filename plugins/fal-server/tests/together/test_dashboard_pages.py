"""The dashboard in a real browser."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator
from typing import Any

import browsers
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from fal_core.cli.program import cli

SOURCE = """
    from fal_serve import App, endpoint


    class Served(App, keep_alive=300):
        @endpoint("/work")
        def work(self) -> int:
            print("it works on it")
            return 1 // DIVISOR
"""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def shop(served_plane: Any) -> Any:
    """A server with an application whose second release fails."""
    for divisor, message in ((1, "The first one"), (0, "A small change")):
        text = SOURCE.replace("DIVISOR", str(divisor))
        served_plane.deploy_class("shop", text, "--message", message)
        with served_plane.client("run") as client:
            client.post("/owner/shop/work")
    served_plane.plane.run(served_plane.plane.plane.decider.traffic.store())
    return served_plane


@pytest.fixture
def open_page(browser: Any, shop: Any) -> Iterator[Open]:
    ports = shop.plane.plane.ports
    hosts = [f"http://127.0.0.1:{ports[name]}/" for name in ("api", "run")]
    with browsers.opening_pages(browser, *hosts) as begin:
        yield lambda path="/", **options: begin(hosts[0][:-1] + path, **options)


def link_of(shop: Any) -> str:
    """Return the path of a link that signs in, as the command prints it."""
    words = ["server", "open", "--json", "--data", str(shop.plane.settings.data)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    url = str(json.loads(done.output)["url"])
    return url[url.index("/#") :]


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()


def test_link_opens_the_dashboard_once(open_page: Open, shop: Any):
    """
    The link of the command signs in, and leaves nothing in the address; a second browser that
    opens it is not let in.
    """
    link = link_of(shop)
    page = open_page(link)
    expect(page.get_by_role("link", name="shop", exact=True)).to_be_visible()
    assert "code" not in page.url
    page.reload()
    expect(page.get_by_role("link", name="shop", exact=True)).to_be_visible()

    other = open_page(link)
    expect(other.get_by_role("alert")).to_contain_text("was opened before")
    assert "shop" not in other.locator("main").inner_text()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_failing_application_is_rolled_back_in_three_clicks(open_page: Open, shop: Any):
    """
    The application that fails is marked; its page has the traceback and the deployments, and
    a button that rolls back.
    """
    page = open_page(link_of(shop))
    row = page.get_by_role("row").filter(has_text="shop")
    expect(row).to_contain_text("errors")

    row.get_by_role("link", name="shop").click()
    expect(page.locator(".trace")).to_contain_text("ZeroDivisionError")
    deployments = page.get_by_role("table", name="Deployments")
    expect(deployments).to_contain_text("A small change")
    deployments.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()

    first = deployments.get_by_role("row").filter(has_text="The first one").first
    expect(first).to_contain_text("serving")
    with shop.client("run") as client:
        assert client.post("/owner/shop/work").json() == 1


def test_application_with_two_dashes_is_rolled_back(open_page: Open, shop: Any):
    """
    What is rolled back is the application of the page, and not one whose name is the part
    before two dashes.
    """
    for divisor in (1, 2):
        shop.deploy_class("shop--other", SOURCE.replace("DIVISOR", str(divisor)))
    catalog = shop.plane.plane.decider.catalog
    before = {name: catalog.find("owner", name).revision for name in ("shop", "shop--other")}
    page = open_page(link_of(shop))
    page.get_by_role("link", name="shop--other", exact=True).click()
    deployments = page.get_by_role("table", name="Deployments")
    deployments.get_by_role("button", name="Roll back").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("Rolled back.")).to_be_attached()

    assert catalog.find("owner", "shop").revision == before["shop"]
    assert catalog.find("owner", "shop--other").revision != before["shop--other"]


def test_log_goes_on_where_it_was(open_page: Open, shop: Any):
    """
    A page that has lost the server asks for the lines after the last one that it has, and shows
    lines that look the same, each once.
    """
    with shop.client("run") as client:
        client.post("/owner/shop/work")
    page = open_page(link_of(shop))
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.abort() if len(asked) == 1 else route.continue_()

    page.route("**/logs/stream?*", refuse)
    page.get_by_role("link", name="Logs", exact=True).click()
    lines = page.locator(".line", has_text="it works on it")
    expect(lines.first).to_be_visible()
    while len(asked) < 2:
        page.wait_for_timeout(50)
    shown = lines.count()
    assert "after=" in asked[0]
    assert "after=" in asked[1]
    with shop.client("run") as client:
        client.post("/owner/shop/work")
    expect(lines).to_have_count(shown + 1)


def test_what_a_key_may_not_is_not_offered(open_page: Open, shop: Any):
    """A key that may only read sees no button that changes something, nor keys."""
    page = open_page()
    sign_in(page, shop.plane.make_key(policy_preset="READONLY"))
    page.get_by_role("link", name="shop", exact=True).click()
    expect(page.get_by_role("table", name="Deployments")).to_be_visible()
    expect(page.get_by_role("table", name="Runners")).to_be_visible()
    assert page.get_by_role("main").get_by_role("button").all_inner_texts() == [
        "30 minutes",
        "24 hours",
        "30 days",
    ]
    page.goto(page.url.partition("#")[0] + "#/access")
    expect(page.get_by_role("heading", name="Secrets", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Keys", exact=True)).to_have_count(0)


def test_request_is_followed_from_its_list(open_page: Open, shop: Any):
    """
    A queued request comes into the list by itself, and has a page with its result and its
    log. It is sent again there, and the page of that opens.
    """
    page = open_page(link_of(shop))
    page.get_by_role("link", name="Requests").click()
    expect(page.get_by_role("heading", name="Requests").first).to_be_visible()
    id = shop.submit("shop/work")
    shop.finish("shop", id)
    page.get_by_role("link", name=id[:8]).click()

    expect(page.get_by_role("heading", name=f"Request {id[:8]}")).to_be_visible()
    expect(page.get_by_label("Result").locator("pre, .empty").first).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("it works on it")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", name=f"Request {id[:8]}")).to_have_count(0)
    expect(page.get_by_role("heading", name="Request ")).to_be_visible()
    expect(page.get_by_label("Result").locator("pre, .empty").first).to_be_visible()


def test_logs_come_as_they_are_printed(open_page: Open, shop: Any):
    """Lines come as they are printed, and are searched."""
    page = open_page(link_of(shop))
    page.get_by_role("link", name="Logs").click()
    page.get_by_label("Search the logs").fill("works on")
    log = page.get_by_role("log")
    expect(log.locator(".line").first).to_be_visible()
    expect(log.locator(".line").filter(has_not_text="works on")).to_have_count(0)
    # There are none for a moment, until those have come that were searched for.
    expect(log.locator(".line").first).to_be_visible()
    before = log.locator(".line").count()
    with shop.client("run") as client:
        client.post("/owner/shop/work")

    expect(log.locator(".line")).to_have_count(before + 1)
    assert all("works on" in each for each in log.locator(".line").all_inner_texts())


def test_runners_show_what_they_use(open_page: Open, shop: Any):
    """
    A runner that serves is shown with its node and its memory, in the list of all, on the page
    of its application and on its own.
    """
    with shop.client("run") as client:
        client.post("/owner/shop/work")
    page = open_page(link_of(shop))
    page.get_by_role("link", name="Runners").click()
    link = page.get_by_role("link", name="shop", exact=True)
    row = page.get_by_role("row").filter(has=link).first
    expect(row.locator("td[data-name=Memory]")).to_contain_text("MB")
    expect(row.locator("td[data-name=Node]")).to_have_text(platform.node())

    link.first.click()
    page.get_by_role("heading", name="shop").wait_for()
    row = page.get_by_role("table", name="Runners").locator("tbody tr").first
    expect(row.locator("td[data-name=Memory]")).to_contain_text("MB")
    row.get_by_role("link", name="Log of").click()
    page.get_by_role("heading", name="Log", exact=True).wait_for()
    expect(page.get_by_label("About it")).to_contain_text(re.compile(r"Memory\d+\.\d MB"))


def test_runner_is_stopped(open_page: Open, shop: Any):
    """A runner is stopped after a question, and leaves the page as it ends."""
    page = open_page(link_of(shop))
    page.get_by_role("link", name="Runners").click()
    row = page.get_by_role("row").filter(has_text="shop").first
    name = row.get_by_role("link").first.inner_text()
    row.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()

    expect(page.get_by_role("link", name=name)).to_have_count(0)


def test_playground_opens_signed_in(open_page: Open, shop: Any):
    """The playground of a private application opens from its page without asking for a key."""
    page = open_page(link_of(shop))
    page.get_by_role("link", name="shop", exact=True).click()
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Playground").click()
    playground = opened.value
    expect(playground.get_by_role("heading", name="Work")).to_be_visible()
    assert "fal-token" not in playground.url


@pytest.mark.parametrize("scheme", browsers.SCHEMES)
def test_pages_have_no_accessibility_faults(
    open_page: Open, shop: Any, find_faults: Callable[[Page], list[str]], scheme: Any
):
    """No page has what axe finds fault with, and none is wider than a phone."""
    page = open_page(color_scheme=scheme, viewport={"width": 360, "height": 740})
    assert find_faults(page) == []
    sign_in(page, shop.plane.key)
    base = page.url.partition("#")[0]
    for path, heading in (
        ("", "Applications"),
        ("applications/shop", "shop"),
        ("runners", "Runners"),
        ("requests", "Requests"),
        ("logs", "Logs"),
        ("access", "Secrets and keys"),
        ("machines", "Machines"),
    ):
        page.goto(f"{base}#/{path}")
        expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()
        expect(page.locator("table, .line").first).to_be_attached()
        assert find_faults(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") == 360, path


def test_all_can_be_done_by_keyboard(open_page: Open, shop: Any):
    """The pages are reached by keyboard, with a focus that is seen."""
    page = open_page(link_of(shop))
    expect(page.get_by_role("link", name="shop", exact=True)).to_be_visible()
    reached = ""
    for _ in range(30):
        page.keyboard.press("Tab")
        reached = page.evaluate("document.activeElement.textContent")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached == "shop":
            break
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="shop", exact=True)).to_be_visible()
