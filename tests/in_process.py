"""Client of an application in this process: no port, no thread of its own."""

import asyncio

import httpx


class InProcess(httpx.BaseTransport):
    """Transport of httpx that calls an ASGI application in an event loop of its own."""

    def __init__(self, app):
        self.app, self._runner = app, asyncio.Runner()

    def handle_request(self, request):
        return self._runner.run(self._handle(request))

    async def _handle(self, request):
        content = request.read()
        given = httpx.Request(request.method, request.url, headers=request.headers, content=content)
        if "transfer-encoding" in given.headers:
            given.headers.pop("content-length", None)
        transport = httpx.ASGITransport(self.app, client=("10.0.0.9", 1234))
        answer = await transport.handle_async_request(given)
        headers, content = answer.headers, await answer.aread()
        return httpx.Response(answer.status_code, headers=headers, content=content)

    def close(self):
        self._runner.close()


def client_of(app, *, base_url, headers):
    """A browser that follows nothing by itself; close it."""
    return httpx.Client(
        transport=InProcess(app), base_url=base_url, headers=headers, follow_redirects=False
    )
