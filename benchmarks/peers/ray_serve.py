"""Ray Serve, one replica behind its proxy."""

import argparse
import os
import sys
import time
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from benchmarks.peers.models import Order, Picture, paint, read_port

application = FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
@serve.ingress(application)
class Painter:
    @application.post("/sync")
    def answer(self, order: Order) -> Picture:
        return paint(order)

    @application.post("/async")
    async def answer_async(self, order: Order) -> Picture:
        return paint(order)


if __name__ == "__main__":
    options = read_port(argparse.ArgumentParser(description=__doc__))
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env=environment,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    deployed: Any = Painter
    serve.run(deployed.bind(), route_prefix="/")
    while True:
        time.sleep(3600)
