"""The shop's web server, as a WSGI application: the faults around a request, and which part of WordPress answers it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from adapters.simulators.woocommerce import about, keys, pages, render
from adapters.simulators.woocommerce.asking import Answer, Asking, json_body, php_query
from adapters.simulators.woocommerce.faults import Fault, Kind
from adapters.simulators.woocommerce.problems import Problem
from adapters.simulators.woocommerce.rest import Rest
from adapters.simulators.woocommerce.site import GoesOn, PhpDied, Site
from adapters.simulators.woocommerce.wc_auth import WcAuth
from adapters.simulators.woocommerce.web import HTML, JSON, Cut, Environ, Request, Response, StartResponse, html, redirect

_V3: Final = "wc/v3/"
_SECRET: Final = ("oauth_", "consumer_")


class Asked(NamedTuple):
    """A request that came in. What proved who was asking is left out."""

    method: str
    path: str
    params: dict[str, object]


@dataclass(slots=True)
class App:
    """The WSGI application."""

    site: Site
    rest: Rest
    auth: WcAuth
    requests: list[Asked] = field(default_factory=list)
    most: Counter[str] = field(default_factory=Counter)
    _inside: Counter[str] = field(default_factory=Counter)
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _left: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)
    _cached: dict[str, Response] = field(default_factory=dict)

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        """One request."""
        request = Request.read(environ)
        self.catch_up()
        name = self._name(request)
        params = {key: value for key, value in php_query(request.query).items() if not key.startswith(_SECRET)}
        self.requests.append(Asked(request.method, request.path, params))
        with self._counted(name):
            fault = self.site.faults.take({name, "any", f"{request.method} {name}", f"{request.method} any"})
            return self._badly(request, fault, start) if fault else self._sent(request, start)

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Around a request from its first byte on, also while it waits for a PHP worker."""
        with self._counted("any"):
            yield

    def catch_up(self) -> None:
        """Do what is due of the work whose client gave up."""
        now = self.site.clock()
        with self._mutex:
            due = [rest for at, rest in self._left if at <= now]
            self._left[:] = [(at, rest) for at, rest in self._left if at > now]
        for rest in due:
            try:
                rest()
            except (PhpDied, Problem, Cut):
                continue  # nobody is left to hear it
            except GoesOn as on:
                self._leave(on.rest, on.after)

    def is_tls(self, request: Request) -> bool:
        """WordPress' is_ssl()."""
        return (request.scheme == "https" or self.site.switches.pretend_tls) and not self.site.switches.tls_at_proxy

    # ── faults ──

    def _sent(self, request: Request, start: StartResponse) -> Iterable[bytes]:
        response = self._done(request)
        if request.method == "GET":
            self._cached[request.path] = response
        return response.send(start, head=request.method == "HEAD")

    def _badly(self, request: Request, fault: Fault, start: StartResponse) -> Iterable[bytes]:
        match fault.kind:
            case Kind.DROP | Kind.LOSE_ANSWER | Kind.GO_ON:
                raise self._unanswered(request, fault)
            case Kind.TRUNCATE:
                return self._done(request).truncated(start)
            case Kind.DRIP:
                return self._done(request).dripping(start, fault.seconds)
            case Kind.ENDLESS:
                return self._done(request).endless(start)
            case Kind.SLOW | Kind.SLOW_ANSWER:
                return self._slowly(request, fault, start)
            case Kind.NOTICE | Kind.BOM:
                response = self._done(request)
                front = pages.NOTICE.encode() if fault.kind is Kind.NOTICE else b"\xef\xbb\xbf"
                return Response(response.status, front + response.body, response.headers, response.content_type).send(start)
            case Kind.CACHED:
                return (self._cached.get(request.path) or self._done(request)).send(start)
            case _:
                if fault.effect:
                    self._done(request)
                return _impostor(request, fault).send(start)

    def _slowly(self, request: Request, fault: Fault, start: StartResponse) -> Iterable[bytes]:
        if fault.kind is Kind.SLOW:
            time.sleep(fault.seconds)
            return self._sent(request, start)
        response = self._done(request)
        time.sleep(fault.seconds)
        return response.send(start)

    def _unanswered(self, request: Request, fault: Fault) -> Cut:
        """What becomes of a request whose client hears nothing."""
        if fault.kind is Kind.LOSE_ANSWER:
            self._done(request)
        elif fault.kind is Kind.GO_ON:
            self._leave(lambda: self._done(request), timedelta(seconds=fault.seconds))
        return Cut()

    def _leave(self, rest: Callable[[], object], after: timedelta) -> None:
        with self._mutex:
            self._left.append((self.site.clock() + after, rest))

    # ── WordPress ──

    def _done(self, request: Request) -> Response:
        """The true answer. A process that died is told as WordPress tells it, or by the web server in front."""
        try:
            return self._answer(request)
        except PhpDied as died:
            if died.status == 200:
                return Response(200, b"", self._api_link(), JSON)  # exit(): the headers were sent already, and no body
            if died.status:
                return html(pages.server(died.status), died.status)
            problem = {**Problem(500, "internal_server_error", pages.CRITICAL).body(), "additional_errors": []}
            return Response(500, render.to_json(problem), self._api_link(), JSON)
        except GoesOn as on:
            self._leave(on.rest, on.after)
            raise Cut from on

    def _answer(self, request: Request) -> Response:
        path = self._below(request.path)
        query = php_query(request.query)
        if path is None:
            return html(pages.server(404), 404)
        if path.startswith(("/wc-auth/", "/wp-login.php")):
            return self.auth.answer(request, path)
        if "rest_route" in query:
            return self._rest(request, str(query["rest_route"]).lstrip("/"))
        below = path.removeprefix("/index.php")
        if below == "/wp-json" or below.startswith("/wp-json/"):
            if self.site.switches.plain_permalinks:
                whole = f"{self.site.url}{path}"
                return html(pages.plain("Page not found", "<h1>Not found</h1>"), 404) if path.endswith("/") else redirect(f"{whole}/", 301)
            return self._rest(request, below.removeprefix("/wp-json").lstrip("/"))
        if path in {"", "/", "/index.php"}:
            link = f"{self.site.url}/index.php?rest_route=/" if self.site.switches.plain_permalinks else f"{self.site.url}/wp-json/"
            return html(pages.plain("Shop", "<h1>Shop</h1>"), 200, ("Link", f'<{link}>; rel="https://api.w.org/"'))
        return html(pages.plain("Page not found", "<h1>Not found</h1>"), 404)

    def _rest(self, request: Request, route: str) -> Response:
        try:
            answer = self._asked(request, route)
        except Problem as problem:
            answer = Answer(problem.body(), problem.status, self._allow(route, problem))
        own = any(name == "Link" for name, _ in answer.headers)
        return Response(answer.status, render.to_json(answer.body), (*(() if own else self._api_link()), *answer.headers), JSON)

    def _asked(self, request: Request, route: str) -> Answer:
        """Keys count only where the address itself names the API: not behind `?rest_route=`."""
        if not route:
            return Answer(about.index(self.site, v3=not self.site.switches.no_v3))
        shown = self._shown(request)
        asker = keys.authenticate(self.site, shown) if "/wp-json/wc" in request.uri.partition("?")[0] else keys.Asker()
        if not route.startswith(_V3) or self.site.switches.no_v3:
            raise Problem(404, "rest_no_route", "No route was found matching the URL and request method.")
        body = json_body(request.body, request.headers.get("content-type", ""))
        query = {**shown.query, **shown.form}
        return self.rest.answer(Asking(request.method, route.removeprefix(_V3).rstrip("/"), query, body, asker, raw=request.query))

    def _shown(self, request: Request) -> keys.Shown:
        is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        form = php_query(request.body.decode("utf-8", "replace")) if is_form else {}
        authorization = "" if self.site.switches.strip_authorization else request.headers.get("authorization", "")
        uri = request.uri.partition("?")[0]
        return keys.Shown(request.method, uri, php_query(request.query), form, authorization, self.is_tls(request))

    def _allow(self, route: str, problem: Problem) -> tuple[tuple[str, str], ...]:
        """Who was let in is told what a route takes."""
        found = self.rest.route(route.removeprefix(_V3))
        if found is None or problem.status in {401, 403} or problem.code == "rest_no_route":
            return ()
        return self.rest.allow(found)

    def _api_link(self) -> tuple[tuple[str, str], ...]:
        return (("Link", f'<{self.site.url}/wp-json/>; rel="https://api.w.org/"'),)

    # ── names ──

    def _below(self, path: str) -> str | None:
        """The path below the folder that the shop is installed in."""
        base = self.site.settings.path
        return path.removeprefix(base) if path == base or path.startswith(f"{base}/") else None

    def _name(self, request: Request) -> str:
        """The route, by the name that faults are ordered for."""
        path = (self._below(request.path) or "").removeprefix("/index.php")
        if path.startswith("/wc-auth"):
            return "wc-auth"
        if not path.startswith("/wp-json"):
            return "home"
        route = path.removeprefix("/wp-json").lstrip("/")
        found = self.rest.route(route.removeprefix(_V3).rstrip("/")) if route.startswith(_V3) else None
        return found.name if found else "index" if not route else "unknown"

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        with self._mutex:
            self._inside[name] += 1
            self.most[name] = max(self.most[name], self._inside[name])
        try:
            yield
        finally:
            with self._mutex:
                self._inside[name] -= 1


def _impostor(request: Request, fault: Fault) -> Response:
    """What stands between us and WordPress says something of its own."""
    wait: tuple[tuple[str, str], ...] = () if fault.retry_after is None else (("Retry-After", fault.retry_after),)
    match fault.kind:
        case Kind.WAF:
            return html(pages.WAF, fault.status or 403, ("Server", "cloudflare"), ("CF-RAY", "8f2a1b3c4d5e6f70-AMS"), *wait)
        case Kind.MAINTENANCE:
            return html(pages.MAINTENANCE, 503, *(wait or (("Retry-After", "600"),)))
        case Kind.LOGIN_WALL:
            return html(pages.login_wall())
        case Kind.REDIRECT:
            there = fault.words or f"{request.path}/{'?' * bool(request.query)}{request.query}"
            return redirect(there, fault.status or 301)
        case Kind.ANSWER:
            return Response(fault.status or 200, fault.words.encode(), wait, fault.content_type)
        case _:
            status = fault.status or 200
            return Response(status, (fault.words or pages.server(status)).encode(), wait, HTML)
