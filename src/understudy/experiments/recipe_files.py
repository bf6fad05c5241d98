"""The recipes that come with the package: `configs/` in the repository, beside the modules once installed."""

from pathlib import Path

from understudy.errors import UserError

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "configs", PACKAGE.parents[1] / "configs")


def recipe_file(name: str) -> Path:
    """The YAML file of a recipe.

    Args:
        name: Its path below `configs`, without its ending: `cifar100/kd`.

    Raises:
        UserError: There is none of that name.
    """
    for place in PLACES:
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    raise UserError(f"there is no recipe '{name}' below configs: check its path, which has no ending")
