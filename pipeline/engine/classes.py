"""The classes that networks tell apart, by number and by name.

All networks of torchvision and Caffe were trained on the same thousand classes of ImageNet in the
same order. `scripts/make_class_table.py` writes their names down, so that a config is checked
without torch.
"""

import json
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from pipeline.engine.networks import MODELS, spec
from pipeline.errors import ConfigError

TABLE = Path(__file__).with_name("imagenet.json")
_NEAR = 3  # names offered for one that is not there


def class_index(model: str, name: str) -> int:
    """Find a class by its name, in any case and with `_` or `-` for a space, or by its number.

    A number is not held against the published classifier: a weight file may have another.

    Args:
        model: key in `networks.MODELS`.
        name: such as "green snake" or "55".

    Returns:
        The index of its logit.

    Raises:
        ConfigError: unknown `model`, one without classifier, or no such class.
    """
    facts = spec(model)
    if not facts.head:
        able = ", ".join(each.name for each in MODELS.values() if each.head)
        raise ConfigError(f"{model} has no classifier; {able} have one")
    if re.fullmatch(r"(?a:\d{1,6})", name):
        return int(name)
    if not facts.imagenet:
        raise ConfigError(
            f'"{name}": {model} numbers its {facts.classes} classes in an order of its own; '
            f"give a number, 0 to {facts.classes - 1}"
        )
    names = imagenet()
    if name in names:
        return names.index(name)
    plain = {_plain(each): index for index, each in reversed(list(enumerate(names)))}
    wanted = _plain(name)
    if wanted in plain:
        return plain[wanted]
    within = [each for each in names if wanted and f" {wanted} " in f" {_plain(each)} "]
    near = within + [names[plain[each]] for each in get_close_matches(wanted, plain, _NEAR)]
    offered = " or ".join(f'"{each}"' for each in list(dict.fromkeys(near))[:_NEAR])
    hint = f"Did you mean {offered}? " if near else ""
    command = f"dream classes {wanted}" if within else "dream classes"
    raise ConfigError(f'"{name}" is not a class of ImageNet. {hint}`{command}` lists them.')


@cache
def imagenet() -> tuple[str, ...]:
    """Names of ImageNet's thousand classes, as torchvision has them, in the networks' order."""
    return tuple(json.loads(TABLE.read_text(encoding="utf-8")))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()
