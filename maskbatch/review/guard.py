"""Access to the review server: only one browser, with a token from the terminal, at the printed address."""

import secrets
from collections.abc import Callable, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_COOKIE = "maskbatch_review"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; script-src 'self'; style-src 'self'; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip


class Guard:
    """Access rules for a server of personal data.

    The address with the token works once and gives the browser a cookie, which all other requests need. The Host header
    must be one of `hosts`; otherwise another site could reach the server under its own name (DNS rebinding). A request
    that changes something must come from the server's own page (Origin header).

    Args:
        hosts: host names with ports, such as "127.0.0.1:8765".
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(hosts)
        self.token: str | None = secrets.token_urlsafe(24)
        self._cookie = secrets.token_urlsafe(24)

    @property
    def middleware(self) -> Callable[[ASGIApp], ASGIApp]:
        """A layer around an application that lets only allowed requests through."""
        return partial(_Guarded, self)

    def refusal(self, request: Request) -> Response | None:
        """Return the response to a refused request, None for an allowed one. The right token admits a browser."""
        if request.headers.get("host", "") not in self._hosts:
            return PlainTextResponse("this address does not belong to the review", 400)
        token = request.query_params.get("token")
        if token is not None and self.token is not None and secrets.compare_digest(token.encode(), self.token.encode()):
            self.token = None
            entered = RedirectResponse("/", 303)
            entered.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="strict")
            return entered
        if not secrets.compare_digest(request.cookies.get(_COOKIE, "").encode(), self._cookie.encode()):
            return PlainTextResponse(
                "open the address that maskbatch review printed; it works once, in one browser", 403
            )
        own = {f"http://{host}" for host in self._hosts}
        if request.method not in ("GET", "HEAD") and request.headers.get("origin") not in own:
            return PlainTextResponse("this request does not come from the review's own page", 403)
        return None


class _Guarded:
    def __init__(self, guard: Guard, app: ASGIApp) -> None:
        self._guard, self._app = guard, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                names = {name for name, _ in message["headers"]}
                if b"cache-control" not in names:
                    added.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._guard.refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send_with_headers)
