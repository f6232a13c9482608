"""
The order of the packages: what a module may import of its own package.
"""

from __future__ import annotations

#: Places of each package from the bottom up: modules at its top, and folders, whose
#: names end with a slash. A place imports from rows under its own alone, and from itself.
ORDER: dict[str, tuple[str, ...]] = {
    "fal_core": (
        # Footing.
        "digests exports facts reprs validators",
        # The contract that a host's author reads.
        "errors",
        "events machines options",
        "environments",
        "calls",
        "hosts",
        "abilities checks",
        "hooks",
        # Documented faces that stand on the contract alone.
        "aio caches policies routes spawns wrappers",
        # One call's way: what users write, what travels, what comes back.
        "conversion/",
        "plugins/",
        "declaring/",
        "sealing/",
        "sinks/",
        "workers/",
        "calling/",
        "batching/",
        "functions",
        "decorators front",
        # What people are told, and what plugins are tested with.
        "explanations/",
        "loading/",
        "cli/",
        "testing/",
        "__init__",
    ),
    "fal_core_worker": (
        "archives current trees",
        "stream/",
        "output/",
        "opening/",
        # What the functions of services use, before what runs them.
        "serving/",
        "running/",
        "main",
        "__init__",
    ),
}

#: Imports that go up, each with its reason.
UPWARD = {
    ("fal_core.hosts", "fal_core.front"): "Host.run, spawn and parse_options are documented",
}

#: Folders that may have more than :data:`MOST_MODULES` modules, and how many.
CROWDED = {
    "fal_core": 24,
    "fal_host_serverless": 24,
    "fal_core.testing.laws": 32,
}
MOST_MODULES = 16
MOST_LINES = 400

#: What the author of a host reads.
CONTRACT = (
    "errors",
    "events",
    "options",
    "environments",
    "machines",
    "calls",
    "hosts",
    "hooks",
    "checks",
)
