"""The application that is deployed on the control plane."""

# Annotations are types here, and the file travels alone.
from pydantic import BaseModel

from fal_serve import App, endpoint


class Order(BaseModel):
    prompt: str
    seed: int
    strength: float
    tags: list[str]


class Echo(
    App,
    kind="virtualenv",
    keep_alive=600,
    max_concurrency=1,
    max_multiplexing=64,
    app_auth="public",
):
    def setup(self) -> None:
        self.answered = 0

    @endpoint("/sync")
    def answer(self, order: Order) -> Order:
        self.answered += 1
        return order

    @endpoint("/answered")
    async def tell_answered(self) -> int:
        return self.answered
