"""
What child processes of a worker, which are no forks, import as their ``__main__``.

``multiprocessing`` runs it before it opens what the child is to do.
"""

from __future__ import annotations

from functools import partial

from fal_core_worker import handovers, origins

origins.install(handovers.open_place, handovers.read())
__getattr__ = partial(origins.find, "__main__")
