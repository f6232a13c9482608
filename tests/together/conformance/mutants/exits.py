"""Hosts that break the laws of programs that end."""

from __future__ import annotations

from mutants.wrappers import Broken


class EndsWithItsProgram(Broken):
    """Ends all calls as soon as the main thread of their program has ended."""

    program = """
import threading
from fal_host_local import LocalHost

host = LocalHost()

def end():
    threading.main_thread().join()
    host.close()

threading.Thread(target=end, daemon=True).start()
"""
