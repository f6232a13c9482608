"""FastAPI in uvicorn, as their documentation has it."""

# Annotations are types here: FastAPI reads them.
import argparse

import uvicorn
from fastapi import FastAPI

from benchmarks.peers.models import Order, Picture, paint, read_port

application = FastAPI()


@application.post("/sync")
def answer(order: Order) -> Picture:
    return paint(order)


@application.post("/async")
async def answer_async(order: Order) -> Picture:
    return paint(order)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-access-log", dest="access_log", action="store_false")
    options = read_port(parser)
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=options.access_log,
    )
