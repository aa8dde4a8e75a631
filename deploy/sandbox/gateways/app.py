"""The sandbox as one server: a prefix for each gateway, the finished files, inputs to try with, and the control API."""

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
from rushes.deploy.sandbox.gateways.newapi import NewApi
from rushes.deploy.sandbox.gateways.reference_inputs import References
from rushes.deploy.sandbox.gateways.render import Studio
from rushes.deploy.sandbox.gateways.request_rules import Refusal
from rushes.deploy.sandbox.gateways.server import Answer, Request, json_answer
from rushes.deploy.sandbox.gateways.settings import Settings
from rushes.deploy.sandbox.gateways.signed_links import Links

PLAYERS: tuple[type[Gateway], ...] = (Apimart, ApiMaster, ApiModels, EvoLink, NewApi)
NAMES = tuple(player.name for player in PLAYERS)


class Sandbox:
    """All five gateways over one set of books in `data_dir`; `origin` is the address it is reached at."""

    def __init__(self, data_dir: Path, origin: str, settings: Settings) -> None:
        book = Billing(data_dir / "books.sqlite3")
        references = References(data_dir / "pictures")
        self.shop = Context(
            book=book,
            faults=Faults(book, NAMES),
            links=Links(book.secret(), origin),
            references=references,
            studio=Studio(data_dir / "clips", references.pictures_dir),
            settings=settings,
        )
        self.players: Mapping[str, Gateway] = {player.name: player(self.shop) for player in PLAYERS}
        self.courier = CallbackSender(book, self.players, settings.callback_deliveries)
        self._rooms: Mapping[str, Callable[[Request, str], Answer]] = {
            **{name: player.answer for name, player in self.players.items()},
            "files": self._file,
            "inputs": self._input,
            "_sandbox": Control(self.shop).answer,
        }

    def answer(self, request: Request) -> Answer:
        """The answer of whoever lives behind the first part of the path."""
        _, name, rest = f"{request.path}/".split("/", 2)
        room = self._rooms.get(name)
        return room(request, f"/{rest[:-1]}") if room else files.not_found(request.path)

    def _file(self, request: Request, path: str) -> Answer:
        if not self.shop.links.are_good(request.path, request.query, time.time()):
            return json_answer({"error": "this link is not signed by us, or has expired"}, 403)
        _, gateway, task_id, name = path.split("/")
        task = self.shop.book.task(gateway, task_id)
        if task is None or task.state(time.time()) != "completed":
            return files.not_found(path)
        try:
            return self._finished(request, task, name)
        except faults.Canned as canned:
            return canned.answer
        except Refusal as refusal:
            return json_answer({"error": refusal.message}, refusal.status)

    def _finished(self, request: Request, task: Task, name: str) -> Answer:
        if name == "thumbnail.jpg":
            return files.serve(request, self.shop.studio.thumbnail(task.clip))
        return self.players[task.gateway].download(request, task)

    def _input(self, request: Request, path: str) -> Answer:
        built_in = {"/sample.jpg": self.shop.studio.sample_picture, "/sample.mp4": self.shop.studio.sample_video}
        if path in built_in:
            return files.serve(request, built_in[path]())
        place = self.shop.settings.inputs and self.shop.settings.inputs / Path(path).name
        return files.serve(request, place) if place and place.is_file() else files.not_found(path)


class Control:
    """The control API, for this machine only: faults to switch on, and the books to look into."""

    def __init__(self, shop: Context) -> None:
        self._shop = shop
        self._doors: Mapping[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/health"): lambda request: json_answer({"status": "ok", "gateways": NAMES}),
            ("GET", "/tasks"): self._tasks,
            ("GET", "/bills"): self._bills,
            ("GET", "/violations"): self._violations,
            ("GET", "/faults"): self._faults,
            ("POST", "/faults"): self._arm,
            ("DELETE", "/faults"): self._clear,
        }

    def answer(self, request: Request, path: str) -> Answer:
        """The answer to a control call; 403 to anybody who is not on this machine."""
        if not ip_address(request.peer).is_loopback:
            return json_answer({"error": "from this machine only"}, 403)
        door = self._doors.get((request.method, path))
        return door(request) if door else files.not_found(path)

    def _tasks(self, request: Request) -> Answer:
        told = defaultdict(list)
        for delivery in self._shop.book.deliveries():
            told[delivery["gateway"], delivery["task_id"]].append(delivery)
        tasks = self._shop.book.tasks(request.query.get("gateway", ""))
        return json_answer({"tasks": [_shown(task, told[task.gateway, task.id]) for task in tasks]})

    def _bills(self, request: Request) -> Answer:
        bills = self._shop.book.bills(request.query.get("gateway", ""))
        total = sum((Decimal(bill["usd"]) for bill in bills), Decimal(0))
        return json_answer({"bills": bills, "count": len(bills), "total_usd": str(total)})

    def _violations(self, request: Request) -> Answer:
        return json_answer({"violations": self._shop.book.violations(request.query.get("gateway", ""))})

    def _faults(self, request: Request) -> Answer:
        return json_answer({"faults": [fault.document() for fault in self._shop.faults.armed()]})

    def _arm(self, request: Request) -> Answer:
        try:
            fault = faults.read(json.loads(request.body), NAMES)
        except (ValueError, TypeError, AttributeError, faults.Unknown) as error:
            return json_answer({"error": str(error)}, 400)
        self._shop.faults.arm(fault)
        return json_answer(fault.document(), 201)

    def _clear(self, request: Request) -> Answer:
        self._shop.faults.clear(request.query.get("gateway", ""))
        return self._faults(request)


def _shown(task: Task, callbacks: list[dict[str, Any]]) -> dict[str, Any]:
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
