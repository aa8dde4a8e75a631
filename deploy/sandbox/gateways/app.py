"""The sandbox as one server: a prefix for each gateway, the finished files, sample inputs, and the control API."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rushes.deploy.sandbox.gateways import faults, files
from rushes.deploy.sandbox.gateways.apimart import Apimart
from rushes.deploy.sandbox.gateways.apimaster import ApiMaster
from rushes.deploy.sandbox.gateways.apimodels import ApiModels
from rushes.deploy.sandbox.gateways.billing import Billing, Task
from rushes.deploy.sandbox.gateways.callback_sender import CallbackSender
from rushes.deploy.sandbox.gateways.context import Context
from rushes.deploy.sandbox.gateways.evolink import EvoLink
from rushes.deploy.sandbox.gateways.faults import Faults
from rushes.deploy.sandbox.gateways.gateway import Gateway
from rushes.deploy.sandbox.gateways.kling import Kling
from rushes.deploy.sandbox.gateways.newapi import NewApi
from rushes.deploy.sandbox.gateways.reference_inputs import References
from rushes.deploy.sandbox.gateways.render import ClipRenderer
from rushes.deploy.sandbox.gateways.request_rules import Refusal
from rushes.deploy.sandbox.gateways.server import Request, Response, json_response
from rushes.deploy.sandbox.gateways.settings import Settings
from rushes.deploy.sandbox.gateways.signed_links import Links

GATEWAYS: tuple[type[Gateway], ...] = (Apimart, ApiMaster, ApiModels, EvoLink, Kling, NewApi)
NAMES = tuple(gateway.name for gateway in GATEWAYS)


class Sandbox:
    """All six gateways over one billing database in `data_dir`; `origin` is the address of the server."""

    def __init__(self, data_dir: Path, origin: str, settings: Settings) -> None:
        billing = Billing(data_dir / "books.sqlite3")
        references = References(data_dir / "pictures")
        self.context = Context(
            billing=billing,
            faults=Faults(billing, NAMES),
            links=Links(billing.secret(), origin),
            references=references,
            renderer=ClipRenderer(data_dir / "clips", references.pictures_dir),
            settings=settings,
        )
        self.gateways: Mapping[str, Gateway] = {
            gateway_class.name: gateway_class(self.context) for gateway_class in GATEWAYS
        }
        self.callback_sender = CallbackSender(billing, self.gateways, settings.callback_deliveries)
        self._handlers: Mapping[str, Callable[[Request, str], Response]] = {
            **{name: gateway.respond for name, gateway in self.gateways.items()},
            "files": self._file,
            "inputs": self._input,
            "_sandbox": Control(self.context).respond,
        }

    def respond(self, request: Request) -> Response:
        """The response of the gateway or part that the first segment of the path names."""
        _, name, rest = f"{request.path}/".split("/", 2)
        handler = self._handlers.get(name)
        return handler(request, f"/{rest[:-1]}") if handler else files.not_found(request.path)

    def _file(self, request: Request, path: str) -> Response:
        if not self.context.links.are_good(request.path, request.query, time.time()):
            return json_response({"error": "this link is not signed by the sandbox, or has expired"}, 403)
        _, gateway, task_id, name = path.split("/")
        task = self.context.billing.task(gateway, task_id)
        if task is None or task.state(time.time()) != "completed":
            return files.not_found(path)
        try:
            return self._finished(request, task, name)
        except faults.CannedResponse as canned:
            return canned.response
        except Refusal as refusal:
            return json_response({"error": refusal.message}, refusal.status)

    def _finished(self, request: Request, task: Task, name: str) -> Response:
        if name == "thumbnail.jpg":
            return files.serve(request, self.context.renderer.thumbnail(task.clip))
        return self.gateways[task.gateway].download(request, task)

    def _input(self, request: Request, path: str) -> Response:
        built_in = {
            "/sample.jpg": self.context.renderer.sample_picture,
            "/sample.mp4": self.context.renderer.sample_video,
        }
        if path in built_in:
            return files.serve(request, built_in[path]())
        file = self.context.settings.inputs and self.context.settings.inputs / Path(path).name
        return files.serve(request, file) if file and file.is_file() else files.not_found(path)


class Control:
    """The control API, for this machine only: arms faults, and lists tasks, bills and violations."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handlers: Mapping[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/health"): lambda request: json_response({"status": "ok", "gateways": NAMES}),
            ("GET", "/tasks"): self._tasks,
            ("GET", "/bills"): self._bills,
            ("GET", "/violations"): self._violations,
            ("GET", "/faults"): self._faults,
            ("POST", "/faults"): self._arm,
            ("DELETE", "/faults"): self._clear,
            ("POST", "/balances"): self._set_balance,
        }

    def respond(self, request: Request, path: str) -> Response:
        """The response to a control call; 403 for a client on another machine."""
        if not ip_address(request.peer).is_loopback:
            return json_response({"error": "from this machine only"}, 403)
        handler = self._handlers.get((request.method, path))
        try:
            return handler(request) if handler else files.not_found(path)
        except BadQuery as bad:
            return json_response({"error": str(bad)}, 400)

    def _tasks(self, request: Request) -> Response:
        gateway, since = _wanted(request)
        deliveries = defaultdict(list)
        for delivery in self._context.billing.deliveries(since):  # none is older than its task
            deliveries[delivery["gateway"], delivery["task_id"]].append(delivery)
        tasks = self._context.billing.tasks(gateway, since)
        return json_response({"tasks": [_task_document(task, deliveries[task.gateway, task.id]) for task in tasks]})

    def _bills(self, request: Request) -> Response:
        bills = self._context.billing.bills(*_wanted(request))
        total = sum((Decimal(bill["usd"]) for bill in bills), Decimal(0))
        return json_response({"bills": bills, "count": len(bills), "total_usd": str(total)})

    def _violations(self, request: Request) -> Response:
        return json_response({"violations": self._context.billing.violations(*_wanted(request))})

    def _faults(self, request: Request) -> Response:
        return json_response({"faults": [fault.document() for fault in self._context.faults.armed()]})

    def _arm(self, request: Request) -> Response:
        try:
            fault = faults.read(json.loads(request.body), NAMES)
        except (ValueError, TypeError, AttributeError, faults.Unknown) as error:
            return json_response({"error": str(error)}, 400)
        self._context.faults.arm(fault)
        return json_response(fault.document(), 201)

    def _set_balance(self, request: Request) -> Response:
        try:
            fields = json.loads(request.body)
            gateway, api_key, usd = fields["gateway"], fields["api_key"], Decimal(str(fields["usd"]))
        except (ValueError, TypeError, KeyError, ArithmeticError):
            return json_response({"error": "give gateway, api_key and usd"}, 400)
        self._context.billing.set_balance(gateway, api_key, usd)
        return json_response({"gateway": gateway, "usd": str(usd)}, 201)

    def _clear(self, request: Request) -> Response:
        self._context.faults.clear(request.query.get("gateway", ""))
        return self._faults(request)


class BadQuery(ValueError):
    """A query parameter that cannot be read."""


def _wanted(request: Request) -> tuple[str, float]:
    """Of which gateway (all: empty), and from which moment on (seconds since the epoch). Raises BadQuery."""
    try:
        return request.query.get("gateway", ""), float(request.query.get("since", 0))
    except ValueError:
        raise BadQuery("since: give seconds since the epoch") from None


def _task_document(task: Task, callbacks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "gateway": task.gateway,
        "id": task.id,
        "api_key": task.api_key,
        "body": task.body,
        "accepted_at": task.accepted_at,
        "ends_at": task.ends_at,
        "state": task.state(time.time()),
        "billed_usd": str(task.usd),
        "idempotency_key": task.idempotency_key,
        "clip": {"seconds": task.clip.seconds, "width": task.clip.width, "height": task.clip.height},
        "callbacks": callbacks,
    }
