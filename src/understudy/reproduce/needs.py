"""What a table needs that is not here."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.data import load_data
from understudy.data.base import DATASETS
from understudy.errors import UserError
from understudy.experiments.networks import own_settings
from understudy.experiments.sections import DataSettings
from understudy.experiments.settings import RunSettings
from understudy.models.naming import find_source
from understudy.reproduce.plan import Group


def missing(groups: Sequence[Group]) -> list[str]:
    """What is absent, each with the place where it is looked for; nothing is fetched and nothing written.

    Args:
        groups: From `plan`.
    """
    settings = [arm.settings for group in groups for arm in group.study.arms]
    settings += [group.teacher for group in groups if group.teacher]
    found = [_data_missing(each.data) for each in settings]
    found += [_weights_missing(model) for each in settings for model in _models(each)]
    return list(dict.fromkeys(line for line in found if line))


def _models(settings: RunSettings) -> list[Mapping[str, Any]]:
    return [model for model in (settings.student, settings.teacher) if model]


def _data_missing(chosen: Mapping[str, Any]) -> str | None:
    name = str(chosen["name"])
    own = own_settings(chosen, DataSettings)
    if "download" in inspect.signature(DATASETS.get(name)).parameters:
        own |= {"download": False}
    try:
        load_data(name, settings=own)
    except UserError as error:
        return str(error)
    return None


def _weights_missing(model: Mapping[str, Any]) -> str | None:
    if not model["pretrained"]:
        return None
    place = find_source(str(model["name"])).weights_place()
    if place is None or place.exists():
        return None
    return f"the weights of '{model['name']}' are missing: put {place.name} into {place.parent}"
