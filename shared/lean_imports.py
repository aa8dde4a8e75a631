"""Keeps out of a serving process what its libraries import at their start and never use in it.

redis-py imports OpenTelemetry's SDK and all of its asyncio half, structlog rich with Pygments and greenlet, kombu and
flask-smorest YAML, billiard cffi, Celery psutil and greenlet, where they are installed: for features that are off here,
14 MiB and a fifth of a second in each process. None has a switch for it (redis 8.1, structlog 26.1, kombu 5.7, celery
5.7).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

# By library: what it does without if it cannot be imported.
OPTIONAL: Mapping[str, Sequence[str]] = {
    "structlog": ("rich", "greenlet"),
    "redis": ("opentelemetry",),
    "billiard.util": ("cffi",),
    "kombu.serialization": ("yaml",),
    "celery.utils.debug": ("psutil",),
    "celery.utils.threads": ("greenlet",),
    "celery.bootsteps": ("greenlet",),
    "flask_smorest.spec": ("yaml",),
}
# What libraries import and need only for calls that nobody makes here.
DEFERRED = ("redis.asyncio",)


def import_lean(*libraries: str) -> None:
    """Import these libraries without their optional imports, which everybody else can still import afterwards.

    It works for the first import of a library in a process only, so it is called before all other imports.
    """
    for name in DEFERRED:
        if name not in sys.modules:
            _defer(name)
    for library in libraries:
        with _absent(OPTIONAL[library]):
            import_module(library)


@contextmanager
def _absent(names: Sequence[str]) -> Iterator[None]:
    """An import of these raises ModuleNotFoundError, unless they are imported already.

    None in `sys.modules` means that: docs.python.org, "The import system", 5.3.1.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class DeferredModule(ModuleType):
    """A module that is executed when somebody asks for one of its names.

    Unlike those of importlib.util.LazyLoader its submodules can be imported without it, and two threads can ask at the
    same time.
    """

    def __getattr__(self, name: str) -> Any:
        """Called for a name that the module has not, or not yet."""
        if self in _deferred and PathFinder.find_spec(submodule := f"{self.__name__}.{name}", self.__path__):
            return import_module(submodule)
        with _executing:
            if self in _deferred:
                _deferred.remove(self)  # before it is executed: it may ask for its own names
                assert self.__spec__ is not None
                assert self.__spec__.loader is not None
                self.__spec__.loader.exec_module(self)
        return super().__getattribute__(name)


# Reentrant: the execution of one module may begin that of another.
_executing = threading.RLock()
_deferred: set[ModuleType] = set()


def _defer(name: str) -> None:
    parent = name.rpartition(".")[0]
    spec = PathFinder.find_spec(name, _search_path(parent) if parent else None)
    assert spec is not None
    module = module_from_spec(spec)
    module.__class__ = DeferredModule
    _deferred.add(module)
    sys.modules[name] = module


def _search_path(package: str) -> Sequence[str] | None:
    spec = PathFinder.find_spec(package)
    return spec.submodule_search_locations if spec else None
