"""What the classes of a trained model are called."""

from collections.abc import Collection

from understudy.models.create import PRETRAINED_SUFFIX
from understudy.models.naming import find_source
from understudy.models.saved import is_saved, read_header


def known_classes(name: str, *, pretrained: bool = False, like: Collection[str] = ()) -> tuple[str, ...] | None:
    """Class names of a saved model, or of published weights, in the order of its logits.

    Args:
        name: As `create_model` takes it.
        pretrained: Whether published weights are meant; `[pretrained]` after the name says so, too.
        like: Names that are wanted. Published weights may have words and WordNet ids: those are given that have more of
            these names.

    Returns:
        The names; None where nobody has written them down.

    Raises:
        UserError: Nothing has this name.
    """
    if is_saved(name):
        return read_header(name).classes
    if not pretrained and not name.endswith(PRETRAINED_SUFFIX):
        return None
    vocabularies = find_source(name.removesuffix(PRETRAINED_SUFFIX)).published_classes()
    return max(vocabularies, key=lambda words: len(set(like).intersection(words)), default=None)
