"""An application of fal, run in its own process without an environment."""

import argparse

import fal

from benchmarks.peers.models import Order, Picture, paint, read_port


class Painter(fal.App):
    @fal.endpoint("/sync")
    def answer(self, order: Order) -> Picture:
        return paint(order)

    @fal.endpoint("/async")
    async def answer_async(self, order: Order) -> Picture:
        return paint(order)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics-port", type=int, required=True)
    options = read_port(parser)
    Painter.run_local(exposed_port=options.port, exposed_metrics_port=options.metrics_port)
