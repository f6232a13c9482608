"""The order of the packages: what a module may import of its own package."""

from __future__ import annotations

#: Places of each package from the bottom up: modules at its top, and folders, whose
#: names end with a slash. A place imports from rows under its own alone, and from itself.
ORDER: dict[str, tuple[str, ...]] = {
    "fal_core": (
        # Footing.
        "digests exports facts reprs",
        # The contract that a host's author reads, and the validators of its options.
        "errors",
        # What the caller sees of one.
        "tracebacks/",
        "validators",
        "events machines options",
        # What kinds of environments build and keep, on the disk.
        "caches",
        "stores/",
        "environments",
        "calls spawns",
        "hosts",
        "abilities checks routes",
        "capacities/",
        "hooks",
        # What type checkers know of the options of kinds and hosts.
        "keywords/",
        # Documented faces that stand on the contract alone.
        "aio policies wrappers",
        # One call's way: what users write, what travels, what comes back.
        "conversion/",
        "plugins/",
        "declaring/",
        "sealing/",
        "sinks/",
        "workers/",
        "claims/",
        "calling/",
        "detached/",
        # Calls that cannot work are refused.
        "refusing/",
        "groups/",
        "pools/",
        "nodes/",
        "batching/",
        "functions",
        "decorators front",
        "importing/",
        "executors/",
        # What people are told, and what plugins are tested with.
        "explanations/",
        "loading/",
        "testing/",
        "cli/",
        "__init__",
    ),
    "fal_core_worker": (
        "annotations archives current results sharing trees",
        "stream/",
        "nodes",
        "output/",
        "buffers/",
        "importing/",
        "opening/",
        # What the functions of services use, before what runs them.
        "serving/",
        "running/",
        "main",
        "__init__",
    ),
    "fal_uv": (
        "variables",
        "requirements/",
        "running/",
        "installing/",
        "fields",
        "testing",
        "__init__",
    ),
    "fal_env_virtualenv": (
        "store/",
        "building/",
        "checks commands kinds",
        "__init__",
    ),
    "fal_env_conda": (
        "rattling/",
        "testing",
        "declaring/",
        "building/",
        "kinds",
        "checks",
        "__init__",
    ),
    "fal_env_container": (
        "engines",
        "finding",
        "limits",
        "images/",
        "building/",
        "running/",
        "checks kinds",
        "__init__",
    ),
    "fal_machines": (
        "nvidia sizes toml_files",
        "entries",
        "files",
        "catalogues detection",
        "checks commands",
        "__init__",
    ),
    "fal_host_local": (
        "errors options variables",
        "limits/",
        "workers/",
        "services/",
        "detached/",
        "hosts",
        "__init__",
    ),
    "fal_host_ray": (
        "options testing variables",
        "cluster/",
        "detached/",
        "hosts",
        "__init__",
    ),
    "fal_host_serverless": (
        "errors values",
        # What runs at the far end travels, and imports nothing else of this package.
        "far_end/",
        "wire/",
        "account/",
        "credentials",
        "uploading/",
        "running/",
        "deploying/",
        "hosts",
        "clients",
        "deploy",
        "client client_aio",
        "apps environments keys queues runners secrets",
        "__init__",
        "commands/",
        "plugin",
    ),
    "fal_serve": (
        "exceptions health",
        "policies/",
        "declaring/",
        "launching/",
        "answering/",
        "realtime_sessions/",
        "media/",
        "playground/",
        "serving/",
        "servables",
        "apps plugin",
        "client/",
        "testing",
        "__init__",
    ),
    "fal_compat": (
        "absent versions",
        "exports",
        "billing container declarations functions hosts key_credentials realtime ref",
        "app sdk",
        "distributed/",
        "exceptions/",
        "api/",
        "toolkit/",
        "apps files sync",
        "__init__",
    ),
    "fal_server": (
        "errors limits",
        "settings",
        "state/",
        # Which of several servers on one database decides.
        "claims/",
        "checks",
        "listeners/",
        "specs/",
        "arrivals/",
        "logs/",
        "activity/",
        "telemetry/",
        "key_values/",
        "store/",
        "access/",
        "backups/",
        "devices/",
        # A request goes from a gateway to the queue, from either to routing, and from
        # there to a runner of the fleet.
        "fleet/",
        "routing/",
        "queue/",
        "gateways/",
        "grpc/",
        "shells/",
        "http/",
        "account_data/",
        "workflows/",
        "dashboard/",
        # What a server does whether it decides or another one does.
        "replicas/",
        "plane",
        "commands/",
        "__init__",
    ),
    "fal_server_agent": (
        "workflows/",
        "networks/",
        "carried functions limits messages mounts",
        "request_labels shells",
        "outcomes metering/",
        "control_servers",
        "agents",
        "__init__",
    ),
}

#: Imports that go up, each with its reason.
UPWARD = {
    ("fal_core.hosts", "fal_core.front"): "Host.run, spawn and parse_options are documented",
    ("fal_core.machines", "fal_core.front"): "resolve_machine asks the plugins",
}

#: Folders that may have more than :data:`MOST_MODULES` modules, and how many.
CROWDED = {
    "fal_core": 24,
    "fal_host_serverless": 24,
}
MOST_MODULES = 16
MOST_LINES = 600
