"""A service from its start to its first answer; a program that prints the seconds."""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from time import perf_counter

from benchmarks.peers.bodies import BODY
from benchmarks.services import end_session, free_ports, post

_RUN_LOCAL = """
import importlib, sys
from time import perf_counter
Painter = importlib.import_module(sys.argv.pop(1)).Painter
port, metrics = map(int, sys.argv[1:])
print(perf_counter(), flush=True)
Painter.run_local(exposed_port=port, exposed_metrics_port=metrics)
"""
_LOCAL = {"run-local": "benchmarks.painters", "fal": "benchmarks.peers.fal_app"}


def start_fal_core(kind: str, since: float | None = None) -> float:
    """
    Spawn the application, and return the seconds to its first answer, counted from
    the time *since* where that is given.
    """
    from benchmarks.painters import Painter

    began = perf_counter() if since is None else since
    service = Painter.spawn(kind=kind)
    try:
        post(f"{service.url}/sync", BODY)
        return perf_counter() - began
    finally:
        service.cancel()


def run_locally(module: str, *, imports: bool = False) -> float:
    """
    Run the application of *module* in a process that has imported it, without an
    environment, and return the same; with *imports* from the start of that process on.
    """
    port, metrics = free_ports(2)
    started = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN_LOCAL, module, str(port), str(metrics)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        # The clock is that of the machine, the same in every process.
        imported = float(process.stdout.readline())
        began = started if imports else imported
        threading.Thread(target=process.stdout.read, daemon=True).start()
        while True:
            try:
                post(f"http://127.0.0.1:{port}/sync", BODY)
                return perf_counter() - began
            except OSError:
                time.sleep(0.002)
    finally:
        end_session(process)


def main() -> None:
    """Print the seconds to a first answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=("fal-core", *_LOCAL))
    parser.add_argument("--kind", default="current")
    parser.add_argument("--since", type=float, help="when this process was started")
    options = parser.parse_args()
    if options.who in _LOCAL:
        # It runs in a process of its own; the start of this one is not its matter.
        print(run_locally(_LOCAL[options.who], imports=options.since is not None))
    else:
        print(start_fal_core(options.kind, options.since))


if __name__ == "__main__":
    main()
