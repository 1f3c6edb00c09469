"""The commands that lay many dreams side by side: sheet, maps, atlas and sweep."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.terminal import OUTPUTS, progress, rendered, show_paths

if TYPE_CHECKING:
    from pipeline.config import Config

Command = Callable[[argparse.Namespace], None]


def add_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    """Add the commands to the parser.

    Args:
        add: takes name, function and help.
    """
    sheet = add("sheet", _sheet, "dream a picture at every layer of a network, on one sheet")
    sheet.add_argument("photo", metavar="PHOTO", help="a picture file")
    sheet.add_argument("--model", default="dreamnet", help="a network (dreamnet)")
    sheet.add_argument("--layers", metavar="A,B,C", help="default: those that end a block")
    maps = add("maps", _maps, "show what a layer sees in a picture: its strongest feature maps")
    maps.add_argument("photo", metavar="PHOTO", help="a picture file")
    maps.add_argument("--model", default="dreamnet", help="a network (dreamnet)")
    maps.add_argument("--layer", help="default: the model's own")
    maps.add_argument("--count", type=int, default=23, help="of channels (23)")
    atlas = add("atlas", _atlas, "show what the channels of a layer look for, out of noise")
    atlas.add_argument("model", metavar="MODEL")
    atlas.add_argument("layer", metavar="LAYER")
    atlas.add_argument("--count", type=int, help="of channels, from 0; default: all")
    atlas.add_argument("--channels", metavar="3,17,40", help="these channels")
    sweep = add(
        "sweep", _sweep, "render a config with several values of its settings, on one sheet"
    )
    sweep.add_argument("config", metavar="CONFIG", help="a YAML file")
    sweep.add_argument(
        "overrides", metavar="key=value,value", nargs="*", help="such as dream.step=0.006,0.012"
    )
    sweep.add_argument("--preview", action="store_true", help="small and short")
    for each in (sheet, maps, atlas):
        each.add_argument("--weights", metavar="FILE", help="default: the network's own")
        each.add_argument("overrides", metavar="key=value", nargs="*", help="as for render")
    for each in (sheet, maps, atlas, sweep):
        each.add_argument(
            "--out", metavar="FILE", type=_picture, help="copy the sheet there, .png or .jpg"
        )
        each.add_argument("--overwrite", action="store_true", help="start again")


def _sheet(options: argparse.Namespace) -> None:
    from pipeline.recipes import layer_sheet

    layers = options.layers.split(",") if options.layers else None
    of = (options.photo, options.model, layers)
    _drawn(layer_sheet(*of, weights=options.weights, overrides=options.overrides), options)


def _maps(options: argparse.Namespace) -> None:
    from pipeline.recipes import feature_map_sheet

    of = (options.photo, options.model, options.layer)
    more = {"weights": options.weights, "overrides": options.overrides}
    _drawn(feature_map_sheet(*of, count=options.count, **more), options)


def _atlas(options: argparse.Namespace) -> None:
    from pipeline.recipes import channel_atlas

    channels: int | list[int] | None = options.count
    if options.channels:
        if not re.fullmatch(r"(?a:\d{1,6}(,\d{1,6})*)", options.channels):
            raise ConfigError(f"--channels {options.channels}: numbers such as 3,17,40 are needed")
        channels = [int(number) for number in options.channels.split(",")]
    of = (options.model, options.layer, channels)
    _drawn(channel_atlas(*of, weights=options.weights, overrides=options.overrides), options)


def _sweep(options: argparse.Namespace) -> None:
    from pipeline.sweep import sweep
    from pipeline.variants import plan_sweep

    plan = plan_sweep(options.config, options.overrides, small=options.preview)
    with progress() as listener:
        files = sweep(plan, root=OUTPUTS, overwrite=options.overwrite, listener=listener)
    show_paths(files)
    _copy(files[0], options.out)


def _drawn(config: "Config", options: argparse.Namespace) -> None:
    from pipeline.outputs import portable_text

    done = rendered(config, options.overwrite)
    _copy(done.outputs[0], options.out, portable_text(config))


def _copy(sheet: Path, target: Path | None, config: str = "") -> None:
    if target is not None:
        from pipeline.media.images import read_picture, write_picture

        write_picture(read_picture(sheet), target, config=config)
        show_paths([target])


def _picture(text: str) -> Path:
    """A file to copy a sheet to, refused before anything is dreamed if it can be no picture."""
    if Path(text).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .png nor in .jpg")
    return Path(text)
