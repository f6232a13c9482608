"""
The conformance suite on the hosts that ``docs/write-a-host.md`` shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core.hosts import Host
from fal_core.testing.suite import *  # noqa: F403  # every law
from fal_core.testing.suite import GROUPS
from fal_host_local import LocalHost

#: What the examples do themselves; the rest is that of the worker and the inner host.
OWN = {"events", "detach", "serve", "own servers", "groups"}

if os.environ.get("FAL_CORE_FAULTS") != "all":
    for group in GROUPS.keys() - OWN:
        for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
            globals().pop(law, None)

PAGE = Path(__file__).parents[2] / "docs" / "write-a-host.md"


def example(name: str) -> Any:
    """
    Return the class *name* of the page's block that defines it.
    """
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    block = next(block for block in blocks if f"class {name}(" in block)
    namespace: dict[str, Any] = {"__name__": "write_a_host"}
    exec(compile(block, str(PAGE), "exec"), namespace)
    return namespace[name]


@pytest.fixture(scope="session", params=["CountingHost", "ServiceHost", "ClusterHost"])
def host(request: pytest.FixtureRequest) -> Iterator[Host[..., Any]]:
    cls = example(request.param)
    host = cls(LocalHost()) if request.param == "CountingHost" else cls()
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_url() -> str:
    return "local"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0
