"""
The ``__main__`` of child processes that a worker starts without forking.

``multiprocessing`` imports it before it unpickles what the child is to run.
"""

from __future__ import annotations

from functools import partial

from fal_core_worker.opening import handovers, origins
from fal_core_worker.opening.functions import open_forms

origins.install(partial(handovers.open_named, open_forms), handovers.read())
__getattr__ = partial(origins.find, "__main__")
