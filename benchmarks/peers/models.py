"""What every service takes and gives."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Order(BaseModel):
    prompt: str
    seed: int
    strength: float
    tags: list[str]


class Picture(BaseModel):
    caption: str
    seed: int
    scores: list[float]
    tags: list[str]


def paint(order: Order) -> Picture:
    """Answer an order with next to no work, so that it is the serving that is measured."""
    return Picture(
        caption=order.prompt.title(),
        seed=order.seed + 1,
        scores=[order.strength, 1 - order.strength],
        tags=order.tags,
    )


def read_port(parser: Any) -> Any:
    """Return the options of a peer that is run as a program."""
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args()
