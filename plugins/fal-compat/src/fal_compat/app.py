"""Applications: classes whose methods answer requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from fal_compat.absent import refuse
from fal_compat.billing import (
    BillingComponents,
    BillingDeclaration,
    check_declaration,
)
from fal_compat.declarations import ApplicationHealthCheckConfig
from fal_compat.functions import with_own
from fal_compat.ref import get_current_app, set_current_app
from fal_serve import App as ServedApp
from fal_serve import AppClientError, BaseServable, HealthCheck, RequestContext, realtime
from fal_serve import endpoint as mark_endpoint
from fal_serve.declaring.endpoints import routes_of

if TYPE_CHECKING:
    from fal_core import RouteSignature
    from fal_serve import AppClient, AppSpawnInfo

__all__ = [
    "App",
    "AppClient",
    "AppClientError",
    "AppSpawnInfo",
    "ApplicationHealthCheckConfig",
    "BaseServable",
    "BillingComponents",
    "BillingDeclaration",
    "EndpointClient",
    "HealthCheck",
    "RequestContext",
    "endpoint",
    "get_current_app",
    "realtime",
    "wrap_app",
]

_BILL = "billing_declaration"


class App(ServedApp):
    """A service: the ``App`` of fal_serve, with the methods that fal's has beside."""

    local_python_modules: ClassVar[list[str]] = []

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # Where it runs, its module imports this package.
        cls.local_python_modules = with_own(cls.local_python_modules)

    @classmethod
    def build_metadata(cls) -> dict[str, Any]:
        """Return what a deployment ships beside the application."""
        metadata = super().build_metadata()
        components = cls.get_billing_components()
        return {**metadata, "billing_components": components} if components else metadata

    @classmethod
    def get_billing_components(cls) -> dict[str, BillingComponents]:
        """Return what endpoints declare of their bills, by their paths."""
        found = {}
        for route in routes_of(cls):
            declared = getattr(route.function, _BILL, None)
            if declared is not None:
                path = route.signature.path
                found[path] = check_declaration(path, declared.declaration())
        return dict(sorted(found.items()))

    @classmethod
    def get_health_check_config(cls) -> ApplicationHealthCheckConfig | None:
        """Return how the health of the application is checked, if an endpoint says so."""
        found = cls.host_kwargs.get("health_check_config")
        return None if found is None else ApplicationHealthCheckConfig(**found)

    def collect_routes(self) -> dict[Any, Callable[..., Any]]:
        # It is served, or is going to be.
        set_current_app(self)
        return super().collect_routes()


if TYPE_CHECKING:
    from fal_serve import endpoint
else:

    def endpoint(
        path: str,
        *,
        is_websocket: bool = False,
        health_check: HealthCheck | None = None,
        billing: BillingDeclaration | None = None,
        **more: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """
        Mark the method below as the endpoint at *path*, as ``fal_serve.endpoint`` does.

        Arguments:
            billing: What it declares of its bills, which a deployment publishes.
        """
        if billing is not None and (
            isinstance(billing, type) or not isinstance(billing, BillingDeclaration)
        ):
            raise TypeError(
                f"billing has to be an object with a method 'declaration', not {billing!r}."
            )
        if billing is not None and is_websocket:
            raise ValueError("The endpoint of a websocket cannot declare bills.")
        mark = mark_endpoint(path, is_websocket=is_websocket, health_check=health_check, **more)

        def mark_with_bill(handler: Callable[..., Any]) -> Callable[..., Any]:
            marked = mark(handler)
            if billing is not None:
                setattr(marked, _BILL, billing)
            return marked

        return mark_with_bill

    def __getattr__(name: str) -> Any:
        # They import httpx, which takes its time.
        if name in ("AppClient", "AppSpawnInfo"):
            import fal_serve

            return getattr(fal_serve, name)
        refuse(__name__, name)


class EndpointClient:
    """
    A client of one endpoint, which is called with its input.

    Arguments:
        url: The URL of the application.

        endpoint: The method, whose result the response is turned into.

        signature: Of its route.

        timeout: How many seconds the response may take. None: as long as it takes.

        headers: The headers of requests.
    """

    def __init__(
        self,
        url: str,
        endpoint: Callable[..., Any],
        signature: RouteSignature,
        timeout: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.url = url
        self.endpoint = endpoint
        self.signature = signature
        self.timeout = timeout
        self.headers = headers or {}
        self.return_type: Any = get_type_hints(endpoint).get("return")

    def __call__(self, data: Any) -> Any:
        """
        Send *data*, a model or a mapping, and return the result.

        Raises:
            AppClientError: The response is an error, or there is none.
        """
        import httpx
        from pydantic import BaseModel, TypeAdapter

        from fal_serve.client.endpoint_calls import http_errors, raise_for_status

        is_model = isinstance(data, BaseModel)
        sent = data.model_dump(mode="json") if is_model else dict(data)
        url = self.url + self.signature.path
        with http_errors(url):
            response = httpx.post(url, json=sent, timeout=self.timeout, headers=self.headers)
        raise_for_status(response)
        if self.return_type is None:
            return response.json()
        return TypeAdapter(self.return_type).validate_json(response.content)


def wrap_app(cls: type[App], **kwargs: Any) -> Any:
    """Return the application *cls* as an isolated function, which serves when it is called."""
    return cls.to_function(**kwargs)
