"""Names for things that can be chosen: methods, models, data sets, optimizers."""

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from understudy.errors import UserError, did_you_mean

Entry = TypeVar("Entry", bound=Callable[..., object])
Registered = TypeVar("Registered", bound=Callable[..., object])


class Registry(Generic[Entry]):
    """A mapping from names to classes or functions, filled by a decorator.

    The modules of `package` are imported on the first look-up, so a new file registers itself, and third parties
    add theirs through the entry-point group `understudy.<kind>s`.

    Args:
        kind: What is registered, in the singular, for messages: `method`.
        package: The package whose modules register their contents.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, Entry] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator: make a class or function available under `name`.

        Raises:
            ValueError: The name is taken by something else.
        """

        def add(registered: Registered) -> Registered:
            entry = cast("Entry", registered)
            known = self._entries.setdefault(name, entry)
            if known is not entry and (known.__module__, known.__qualname__) != (entry.__module__, entry.__qualname__):
                raise ValueError(f"{self.kind} '{name}' is already registered by {known.__module__}; take another name")
            self._entries[name] = entry
            return registered

        return add

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """The class or function registered as `name`.

        Raises:
            UserError: There is none; the message names the closest or all.
        """
        self._load()
        if name not in self._entries:
            raise UserError(f"unknown {self.kind} '{name}': {did_you_mean(name, self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=f"understudy.{self.kind}s"):
            self.register(point.name)(point.load())
