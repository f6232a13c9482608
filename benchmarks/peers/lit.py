"""LitServe, one worker: ``/predict`` answers alone, ``/batch`` in batches."""

import argparse
import time
from typing import Any

import litserve

from benchmarks.peers.models import Order, Picture, paint, read_port


class Painter(litserve.LitAPI):
    def setup(self, device: Any) -> None:
        """Load nothing."""

    def decode_request(self, request: Order) -> Order:
        return request

    def predict(self, order: Order) -> Picture:
        return paint(order)

    def encode_response(self, output: Picture) -> Picture:
        return output


class Batches(litserve.LitAPI):
    def setup(self, device: Any) -> None:
        """Load nothing."""

    def decode_request(self, request: Order) -> int:
        return request.seed

    def predict(self, seeds: Any) -> Any:
        time.sleep(0.005)
        return [seed + 1 for seed in seeds]

    def encode_response(self, output: int) -> dict[str, int]:
        return {"seed": output}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wait", type=float, help="seconds that a batch waits to fill")
    options = read_port(parser)
    if options.wait is None:
        api: litserve.LitAPI = Painter(api_path="/sync")
    else:
        api = Batches(api_path="/batch", max_batch_size=64, batch_timeout=options.wait)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=options.port, num_api_servers=1, generate_client_file=False
    )
