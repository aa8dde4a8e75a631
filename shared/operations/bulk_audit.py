"""Audits the bulk actions: one that runs stands in one place of their lane, and nothing else stands there."""

from __future__ import annotations

from collections.abc import Iterator

from rushes.shared.domain.bulk import Bulk, Status
from rushes.shared.ledger import keys
from rushes.shared.ledger.bulk_actions import LANE, PAGE
from rushes.shared.ledger.store import ExpectedPlaces
from rushes.shared.services import Services

PLACES = (keys.due(LANE), keys.leased(LANE))


def differences(services: Services, repair: bool) -> Iterator[list[tuple[str, str]]]:
    """(`nowhere` | `twice` | `stray`, where) of each difference, page by page; repaired if `repair` is True."""
    for page in services.ledger.bulk_actions.pages():
        running = [(version, action) for version, action in page if action.status is Status.RUNNING]
        expected = [_expected(version, action, services.now()) for version, action in running]
        problems = services.ledger.store.repair(expected, repair)
        yield [(what, action.id) for (_, action), words in zip(running, problems, strict=True) for what in words]
    for name in PLACES:
        yield from _strays(name, services, repair)


def _expected(version: int, action: Bulk, now: int) -> ExpectedPlaces:
    return ExpectedPlaces(action.id, version, keys.BULKS, PLACES, now)


def _strays(name: str, services: Services, repair: bool) -> Iterator[list[tuple[str, str]]]:
    """What has ended or is gone: a worker would be handed it again and again."""
    store, cursor = services.ledger.store, 0
    while True:
        cursor, ids = store.page(name, cursor, PAGE)
        known = {action.id: (version, action) for version, action in services.ledger.bulk_actions.read(ids)}
        ended = [each for each in ids if each not in known or known[each][1].status is not Status.RUNNING]
        versions = {each: known[each][0] if each in known else None for each in ended}
        removed = [each for each in ended if store.remove_misplaced(name, each, versions[each], repair)]
        yield [("stray", f"{each} in {name}") for each in removed]
        if cursor == 0:
            return
