"""What libraries do anew for each app and each client: a process has one of each, a process of tests has hundreds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.hooks
import botocore.regions
import botocore.session
from botocore.client import ClientCreator
from botocore.hooks import EVENT_ALIASES, EventAliaser, NodeList, _PrefixTrie
from werkzeug.routing import Rule

from rushes.shared.storage import model_files

compile_builder = Rule._compile_builder


def build_when_asked(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
    """As werkzeug's own, which compiles code for each rule; only `url_for` ever runs it."""
    compiled: list[Callable[..., tuple[str, str]]] = []

    def build(*values: Any, **named: Any) -> tuple[str, str]:
        if not compiled:
            compiled.append(compile_builder(rule, append_unknown))
        return compiled[0](*values, **named)

    return build


compile_rule = Rule.compile
RULES: dict[tuple[Any, ...], tuple[Any, ...]] = {}


def compile_once(rule: Rule) -> None:
    """What werkzeug reads in the text of a rule is the same in each app."""
    assert rule.map
    text = (rule.rule, rule.subdomain, rule.host, rule.merge_slashes, rule.map.host_matching)
    if text not in RULES:
        compile_rule(rule)
        RULES[text] = rule._parts, rule._trace, rule._converters
        return
    rule._parts, rule._trace, rule._converters = RULES[text]
    rule.arguments |= rule._converters.keys()
    rule._build = build_when_asked(rule, False).__get__(rule, None)
    rule._build_unknown = build_when_asked(rule, True).__get__(rule, None)


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


create_methods = ClientCreator._create_methods
METHODS: dict[str, dict[str, Any]] = {}


def methods_once(creator: ClientCreator, model: Any) -> dict[str, Any]:
    """One set of methods for each service: they know only the names of their operations."""
    name = str(model.service_name)
    if name not in METHODS:
        METHODS[name] = create_methods(creator, model)
    return dict(METHODS[name])


def copy_handlers(_: Any, node: dict[str, Any]) -> dict[str, Any]:
    """As botocore's own, which asks `copy` how to copy each list."""
    return {
        name: NodeList(*(part[:] for part in value))
        if isinstance(value, NodeList)
        else copy_handlers(_, value)
        if isinstance(value, dict)
        else value
        for name, value in node.items()
    }


make_aliaser = EventAliaser.__init__
ALIASES: dict[str, str] = {}


def make_with_aliases(aliaser: EventAliaser, emitter: Any, event_aliases: Any = None) -> None:
    """Each session would look for each name of an event through the same table."""
    make_aliaser(aliaser, emitter, event_aliases)
    if aliaser._event_aliases == EVENT_ALIASES:
        aliaser._alias_name_cache = ALIASES


def do_once() -> None:
    """Let them do it once a process."""
    Rule.compile = compile_once  # type: ignore[method-assign]
    _PrefixTrie._recursive_copy = copy_handlers
    Rule._compile_builder = build_when_asked  # type: ignore[method-assign]
    # Each session reads the model of S3 otherwise (0.1 s), the test's own or, in the product, ours.
    botocore.session.create_loader = cache(botocore.session.create_loader)
    model_files.loader = cache(model_files.loader)
    botocore.regions.EndpointProvider = EndpointProviders()
    ClientCreator._create_methods = methods_once
    EventAliaser.__init__ = make_with_aliases  # type: ignore[method-assign]
    botocore.hooks.accepts_kwargs = cache(botocore.hooks.accepts_kwargs)
