import pkgutil
from importlib import import_module
from types import FunctionType

from understudy import losses

# What the losses share.
HELPERS = ("checks", "maps", "spatial", "unit")


def test_every_public_loss_is_exported() -> None:
    modules = [info.name for info in pkgutil.iter_modules(losses.__path__) if info.name not in HELPERS]
    assert len(modules) > 15
    for name in modules:
        module = import_module(f"{losses.__name__}.{name}")
        for word, value in vars(module).items():
            own = isinstance(value, FunctionType) and value.__module__ == module.__name__
            if own and not word.startswith(("_", "check_")):
                assert word in losses.__all__, f"export {word} of {module.__name__} in losses/__init__.py"
                assert getattr(losses, word) is value
