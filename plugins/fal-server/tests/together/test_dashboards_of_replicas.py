"""The dashboard through a replica that does not decide, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import browsers
import httpx
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect
from polling import settle

from fal_core.cli.program import cli


@pytest.fixture(scope="module")
def replicas(make_replicas: Callable[..., Any]) -> Any:
    """Two servers, and an application that the one has deployed which decides."""
    made = make_replicas(2)
    made.served[made.decider].deploy("app")
    return made


@pytest.fixture
def follower(replicas: Any) -> Any:
    """The replica that does not decide."""
    (number,) = replicas.followers
    return replicas.served[number]


def link_of(follower: Any) -> str:
    """Return a link that signs in at a replica, as the command prints it beside that."""
    words = ["server", "open", "--json", "--data", str(follower.plane.data)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    url = str(json.loads(done.output)["url"])
    assert url.startswith(origin_of(follower))
    return url


def origin_of(follower: Any) -> str:
    return f"http://127.0.0.1:{follower.plane.ports['api']}/"


@pytest.fixture
def page(browser: Any, follower: Any) -> Iterator[Page]:
    """
    The dashboard at the replica that does not decide, signed in by a link. The page asks no
    other replica.
    """
    with browsers.opening_pages(browser, origin_of(follower)) as begin:
        opened = begin(link_of(follower))
        expect(opened.get_by_role("link", name="app", exact=True)).to_be_visible()
        expect(opened.get_by_role("status").first).to_have_text("Live")
        yield opened


def test_change_is_shown_as_it_happens(page: Page, replicas: Any):
    """
    What another replica deploys comes into the list by itself, with its runner, and what that
    prints into its log.
    """
    other = replicas.served[replicas.decider]
    other.deploy("other")
    row = page.get_by_role("row").filter(has_text="other")
    expect(row).to_contain_text("idle")

    row.get_by_role("link", name="other").click()
    page.get_by_role("table", name="Runners").get_by_role("link").first.click()
    log = page.get_by_role("log")
    expect(log).to_be_attached()
    other.submit("other/say", {"word": "it is said"})
    expect(log).to_contain_text("it is said")


def test_runner_is_stopped(page: Page, follower: Any):
    """The runner is shown with what it uses, is stopped, and leaves the page."""
    follower.finish("app", follower.submit("app"))
    page.get_by_role("link", name="Runners").click()
    link = page.get_by_role("link", name="app", exact=True)
    row = page.get_by_role("row").filter(has=link).first
    expect(row).to_contain_text("MB")
    name = row.get_by_role("link").first.inner_text()
    row.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)


def test_session_ends_at_each_replica(page: Page, follower: Any, replicas: Any):
    """A session is good at every replica, and for none once it is signed out of."""
    token = page.evaluate("localStorage.getItem('fal-session')")

    def statuses() -> set[int]:
        return {
            httpx.get(
                f"{origin_of(each)}dashboard/session",
                headers={"Authorization": f"Bearer {token}"},
                trust_env=False,
            ).status_code
            for each in replicas.served
        }

    assert statuses() == {200}
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    settle(lambda: statuses() == {401})


def test_page_goes_on_with_another_decider(page: Page, replicas: Any, follower: Any):
    """
    Where the replica is lost that decides, a page at another one that is open follows what
    that does then.
    """
    replicas.servers[replicas.decider].kill()
    settle(lambda: replicas.served[replicas.decider] is follower)
    follower.deploy("next")
    expect(page.get_by_role("link", name="next", exact=True)).to_be_visible()
