"""What libraries do anew for each app and each client: a process has one of each, a process of tests has hundreds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.hooks
import botocore.regions
import botocore.session
from werkzeug.routing import Rule

compile_builder = Rule._compile_builder


def build_when_asked(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
    """As werkzeug's own, which compiles code for each rule; only `url_for` ever runs it."""
    compiled = cache(lambda: compile_builder(rule, append_unknown))

    def build(*values: Any, **named: Any) -> tuple[str, str]:
        return compiled()(*values, **named)

    return build


class EndpointProviders:
    """One for each set of rules, which take long to read; what comes of given parameters is always the same."""

    def __init__(self) -> None:
        self._make = botocore.regions.EndpointProvider
        self._made: dict[int, tuple[Any, Any]] = {}

    def __call__(self, ruleset_data: Any, partition_data: Any, **options: Any) -> Any:
        if id(ruleset_data) not in self._made:
            made = self._make(ruleset_data, partition_data, **options)
            self._made[id(ruleset_data)] = ruleset_data, made  # the rules too, so that their id stays theirs
        return self._made[id(ruleset_data)][1]


def do_once() -> None:
    """Let them do it once a process."""
    Rule._compile_builder = build_when_asked  # type: ignore[method-assign]
    # Each session reads the model of S3 otherwise (0.1 s).
    botocore.session.create_loader = cache(botocore.session.create_loader)
    botocore.regions.EndpointProvider = EndpointProviders()
    botocore.hooks.accepts_kwargs = cache(botocore.hooks.accepts_kwargs)
