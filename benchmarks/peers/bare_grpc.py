"""A bare server of gRPC: one method, which asks for a key. It prints its port."""

import asyncio

import grpc


async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Answer with nothing who has the key."""
    if dict(context.invocation_metadata()).get("auth-key") != "secret":
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The key is unknown.")
    return b""


async def main() -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    methods = {"ListSecrets": handler, "Run": handler}
    service = grpc.method_handlers_generic_handler("controller.IsolateController", methods)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
