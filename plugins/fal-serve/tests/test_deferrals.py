"""
What packages put off, and that all of it is there for who asks.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from fal_serve import App, endpoint


def run(program: str, *, deferred: bool = True) -> str:
    """
    Return what *program* prints in an interpreter of its own.
    """
    first = "from fal_serve import deferrals\ndeferrals.install()\n" if deferred else ""
    done = subprocess.run(
        [sys.executable, "-c", first + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


DOCUMENT = """
    import json
    from fastapi import Depends, FastAPI
    from fastapi.openapi import models
    from fastapi.security import APIKeyHeader, OAuth2PasswordBearer
    from pydantic import BaseModel, ValidationError

    class Order(BaseModel):
        seed: int = 1
        parts: list["Order"] = []

    app = FastAPI(
        servers=[{"url": "https://here", "variables": {"a": {"default": "b"}}}],
        contact={"name": "us", "url": "https://us.example"},
    )

    @app.post("/", openapi_extra={"x": 1})
    def answer(
        order: Order,
        key: str = Depends(APIKeyHeader(name="key")),
        token: str = Depends(OAuth2PasswordBearer(tokenUrl="t", scopes={"a": "b"})),
    ) -> Order:
        return order

    print(json.dumps(app.openapi()))
    for wrong in ({"type": 3}, {"items": {"minLength": "many"}}):
        try:
            models.Schema(**wrong)
        except ValidationError as error:
            print(error)
    print(models.Operation.model_json_schema())

    class Mine(models.Operation):
        mine: int

    class Holder(BaseModel):
        schemas: list[models.Schema]
        encoding: models.Encoding | None = None

    print(Mine.model_json_schema())
    print(Holder(schemas=[{"items": {"type": "string"}}]).model_dump_json(exclude_none=True))
    print(models.Schema.model_config, models.OpenAPI.model_config)
"""


def test_a_document_is_the_same() -> None:
    """
    Models of documents that are built late say and refuse what they do otherwise.
    """
    assert run(DOCUMENT) == run(DOCUMENT, deferred=False)


def test_models_of_documents_are_built_when_used() -> None:
    """
    FastAPI's import builds no model that a document has, the user's are built at once.
    """
    program = """
        import fastapi
        from fastapi.openapi.models import Operation
        from pydantic import BaseModel

        class Mine(Operation, extra="forbid"): pass
        class Other(BaseModel): x: int

        print(Mine.__pydantic_complete__, Other.__pydantic_complete__)
        print(BaseModel.model_config, BaseModel.model_rebuild.__qualname__)
    """
    complete = (
        "from fastapi.openapi.models import Operation as O\nprint(O.__pydantic_complete__)"
    )
    assert run(program) == "True True\n{} BaseModel.model_rebuild\n"
    assert run(complete) == "False\n"
    assert run(complete, deferred=False) == "True\n"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pydantic 1 does not run there")
def test_a_model_of_pydantic_1_is_refused() -> None:
    """
    FastAPI says that it takes no model of pydantic 1, once somebody has one.
    """
    program = """
        import sys
        from fastapi import FastAPI
        app = FastAPI()

        @app.post("/plain")
        def plain(x: int) -> int: return x

        print("pydantic.v1" in sys.modules)
        from pydantic import v1
        class Old(v1.BaseModel):
            x: int
        try:
            @app.post("/")
            def answer(order: Old) -> None: ...
        except Exception as error:
            print(type(error).__name__)
    """
    assert run(program) == "False\nPydanticV1NotSupportedError\n"
    assert run(program, deferred=False) == "True\nPydanticV1NotSupportedError\n"


def test_the_command_line_of_uvicorn_is_there() -> None:
    """
    Who asks uvicorn for what starts it gets that, by whatever name.
    """
    program = """
        import sys
        import uvicorn
        assert "click" not in sys.modules
        from uvicorn.main import LEVEL_CHOICES, run
        assert uvicorn.run is run and type(uvicorn.main).__module__.startswith("click")
        assert sys.modules["uvicorn.main"].Server is uvicorn.Server
        assert not hasattr(sys.modules["uvicorn.main"], "nothing")
        uvicorn.main(["--version"])
    """
    assert run(program).startswith("Running uvicorn")


def test_what_starts_uvicorn_is_loaded_by_its_call() -> None:
    """
    A server that is run as uvicorn documents it runs.
    """
    program = """
        import uvicorn
        from uvicorn import main, run

        async def app(scope, receive, send):
            print(scope["type"], flush=True)
            raise RuntimeError

        for start in (run, uvicorn.run):
            try:
                start(app, port=0, lifespan="on", log_level="critical")
            except SystemExit:
                pass
        main(["--version"])
    """
    assert run(program).startswith("lifespan\nlifespan\nRunning uvicorn")


def test_collection_is_as_it_was() -> None:
    """
    Garbage is left while modules are loaded, and by who collects none afterwards too.
    """
    program = """
        import gc
        from fal_serve.deferrals import uncollected
        with uncollected():
            print(gc.isenabled())
        print(gc.isenabled())
        gc.disable()
        with uncollected():
            pass
        print(gc.isenabled())
    """
    assert run(program) == "False\nTrue\nFalse\n"


def test_a_service_imports_no_more_than_it_needs() -> None:
    """
    A service has answered before anybody has imported what few use.
    """

    class Lister(App, kind="current"):
        @endpoint("/")
        def answer(self) -> list[str]:
            names = (
                "click",
                "pydantic.v1",
                "multiprocessing",
                "websockets",
                "prometheus_client",
            )
            return [name for name in names if name in sys.modules]

        @endpoint("/collects")
        def collects(self) -> bool:
            import gc

            return gc.isenabled()

    from urllib.request import Request, urlopen

    service = Lister.spawn()
    try:
        for path, answer in (("/", b"[]"), ("/collects", b"true")):
            with urlopen(Request(f"{service.url}{path}", b""), timeout=30) as response:
                assert response.read() == answer
    finally:
        service.cancel()
