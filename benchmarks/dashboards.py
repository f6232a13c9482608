"""The dashboard of a large account: hundreds of runners, and a hundred thousand requests."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.figures import FAL_CORE, Contestant, Figure, Goal, Measure
from benchmarks.pages import PAINTED, open_browser, sign_in
from benchmarks.planes import control_plane, filled
from benchmarks.stand_ins import CHANGES, COUNT, name_of

_HERE = "benchmarks.dashboards:"

#: Resolves once the cell of a runner has this text and was painted.
_CHANGED = """([name, text]) => new Promise((resolve) => {
  const look = () => {
    const row = document.querySelector(`a[href="#/runners/${name}"]`)?.closest("tr");
    const cell = row?.querySelector('[data-name="Requests"]');
    if (cell?.textContent === text) requestAnimationFrame(() => resolve(true));
    else requestAnimationFrame(look);
  };
  look();
})"""

#: Asks for the next page of a list.
_MORE = "[...document.querySelectorAll('main button')].at(-1).click()"


@contextmanager
def runners(count: int) -> Iterator[Measure]:
    """Measure from a change of one of so many runners until it is painted in an open page."""
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as folder:
        changes = Path(folder) / "changes"
        changes.write_text("0")
        os.environ[COUNT], os.environ[CHANGES] = str(count), str(changes)
        with control_plane(program="benchmarks.stand_ins") as plane, open_browser() as browser:
            context = browser.new_context()
            token = sign_in(plane)
            context.add_init_script(f"localStorage.setItem('fal-session', '{token}')")
            page = context.new_page()
            page.goto(f"http://{plane.variables['FAL_REST_HOST']}/#/runners")
            page.evaluate(PAINTED, ["tbody tr", count])
            shown = 0

            def change() -> float:
                nonlocal shown
                shown += 1
                new = changes.with_suffix(".new")
                new.write_text(str(shown))
                began = perf_counter()
                new.replace(changes)
                page.evaluate(_CHANGED, [name_of(count // 2), str(shown)])
                return perf_counter() - began

            change()
            yield change
            context.close()


@contextmanager
def requests(count: int, measure: str) -> Iterator[Measure]:
    """
    Measure how long what is asked of so many requests takes: over HTTP the first page, a page
    in the middle, or one request by its id; or until the first page is painted, or the next.
    """
    with filled(applications=1, requests=count) as plane:
        host, token = plane.variables["FAL_REST_HOST"], sign_in(plane)
        connection = http.client.HTTPConnection(host, timeout=60)

        def ask(path: str) -> Any:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            return json.loads(connection.getresponse().read())

        (newest, *_) = ask("/dashboard/requests")["requests"]
        middle = newest["number"] - count // 2
        paths = {
            "first": "/dashboard/requests",
            "middle": f"/dashboard/requests?before={middle}",
            "one": f"/dashboard/requests/{newest['id'].rpartition('-')[0]}-{count // 2}",
        }
        if measure in paths:

            def read() -> float:
                began = perf_counter()
                told = ask(paths[measure])
                taken = perf_counter() - began
                assert len(told.get("requests", [told])) == (1 if measure == "one" else 100)
                return taken

            read()
            yield read
        else:
            with open_browser() as browser:
                yield _painting(browser, f"http://{host}/#/requests", token, measure)
        connection.close()


def _painting(browser: Any, url: str, token: str, measure: str) -> Measure:
    def paint() -> float:
        context = browser.new_context()
        context.add_init_script(f"localStorage.setItem('fal-session', '{token}')")
        page = context.new_page()
        page.goto(url, wait_until="commit")
        taken: float = page.evaluate(PAINTED, ["tbody tr", 100]) / 1e3
        if measure == "next":
            began = perf_counter()
            page.evaluate(_MORE)
            page.evaluate(PAINTED, ["tbody tr", 200])
            taken = perf_counter() - began
        context.close()
        return taken

    paint()
    return paint


def figures(*, quick: bool) -> list[Figure]:
    """Return the figures of this theme."""
    number, count = (50, 2_000) if quick else (500, 100_000)
    asked = {
        "first": ("the newest 100 over HTTP", 0.05),
        "middle": ("100 in the middle over HTTP", 0.05),
        "one": ("one by its id over HTTP", 0.02),
        "painted": ("until the newest 100 are painted", 0.5),
        "next": ("until 100 more are painted", 0.3),
    }
    found = [
        _figure(
            "dashboard-runners",
            f"dashboard of {number} runners: until a change of one is painted",
            2.0,
            "runners",
            {"count": number},
            "in an open page; the server looks for changes once a second",
        )
    ]
    for measure, (what, most) in asked.items():
        found.append(
            _figure(
                f"dashboard-requests-{measure}",
                f"{count:,} requests: {what}",
                most,
                "requests",
                {"count": count, "measure": measure},
                "answered requests of one account",
            )
        )
    return found


def _figure(
    name: str, title: str, most: float, target: str, settings: dict[str, Any], note: str
) -> Figure:
    is_painted = settings.get("measure") in (None, "painted", "next")
    own = Contestant(
        name=FAL_CORE,
        target=_HERE + target,
        settings=settings,
        role="fal-core",
        needs=(
            *("fal_server", "fal_host_serverless", "fal_serve"),
            *(("playwright",) if is_painted else ()),
        ),
        pinned=False,
    )
    unit = "s" if is_painted else "ms"
    return Figure(
        name=name,
        title=title,
        unit=unit,
        contestants=(own,),
        goals=(Goal(plus=most),),
        note=note,
    )
