"""
Workers: the launching end of the stream to a process that runs calls.
"""

from fal_core.workers.worker import ARGUMENTS, Arenas, Worker, WorkerExecution

__all__ = ["ARGUMENTS", "Arenas", "Worker", "WorkerExecution"]
