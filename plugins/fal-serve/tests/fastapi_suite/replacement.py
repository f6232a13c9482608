"""
A pytest plugin that puts FalFastAPI in the place of FastAPI before tests import it.

FAL_SUITE_CLASS says which class is tested, and FAL_SUITE_FAILED the file that gets the
ids of the tests that failed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fastapi
import fastapi.applications

from fal_serve import FalFastAPI

failed: set[str] = set()


class UnorderedFastAPI(FalFastAPI):
    """FalFastAPI without the order of keys in its document, which FastAPI's tests compare."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        remove_orders(document)
        return document


def remove_orders(node: Any) -> None:
    """Remove fal's extensions for the order of keys from *node* of a document."""
    if isinstance(node, dict):
        for key in [key for key in node if str(key).startswith("x-fal-order-")]:
            del node[key]
    for each in node.values() if isinstance(node, dict) else node:
        if isinstance(each, dict | list):
            remove_orders(each)


if os.environ["FAL_SUITE_CLASS"] == "FalFastAPI":
    for module in (fastapi, fastapi.applications):
        module.FastAPI = UnorderedFastAPI  # type: ignore[misc]  # what this plugin is for


def pytest_runtest_logreport(report: Any) -> None:
    if report.failed:
        failed.add(report.nodeid)


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        failed.add(report.nodeid)


def pytest_sessionfinish(session: Any) -> None:
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["FAL_SUITE_FAILED"]).write_text("\n".join(sorted(failed)))
