"""Render every config of configs/seeds and lay the results on one labelled contact sheet.

    python scripts/seeds.py --input photo.jpg --guide guide.jpg --preview

Every tile says which weights it was made with. A config whose weights or photo are not at hand
leaves an empty tile that says so. Where a network's weights cannot be had, another may stand in:

    --weights bvlc_googlenet=bvlc_googlenet.pth    this file for a network
    --instead vgg16=squeezenet1_1:fire8            another network, and its layer, in its place;
                                                   before the = also a single config's name
"""

import argparse
import sys
from pathlib import Path

from pipeline import load_config, render
from pipeline.config import Config, preview
from pipeline.engine.networks import MODELS
from pipeline.errors import PipelineError, ResumeError
from pipeline.media.contact_sheet import Tile, contact_sheet
from pipeline.media.ffmpeg import Frame
from pipeline.media.images import fit, read_picture, resize, write_picture
from pipeline.renderer import Rendered
from pipeline.terminal import escape_what_cannot_be_shown

SEEDS = Path(__file__).parent.parent / "configs/seeds"
TITLE = "configs/seeds: known systems, and what networks see"


def main() -> None:
    """Parse the arguments, render, write the sheet and print where it is."""
    escape_what_cannot_be_shown()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", metavar="PHOTO", help="in place of photo.jpg")
    parser.add_argument("--guide", metavar="PHOTO", help="in place of guide.jpg")
    parser.add_argument("--preview", action="store_true", help="small and short")
    parser.add_argument("--weights", metavar="MODEL=FILE", action="append", type=_pair, default=[])
    parser.add_argument(
        "--instead", metavar="NAME=MODEL[:LAYER]", action="append", type=_pair, default=[]
    )
    parser.add_argument("--configs", metavar="FOLDER", type=Path, default=SEEDS)
    parser.add_argument("--root", metavar="FOLDER", type=Path, default=Path("outputs/seeds"))
    parser.add_argument("--tile", type=int, default=320, help="width of a tile, pixels (320)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="of the sheet, .png or .jpg")
    options = parser.parse_args()
    tiles = []
    for path in sorted(options.configs.glob("*.yaml")):
        tile = _tile(path, options)
        tiles.append(tile)
        if tile.picture is None:
            print(f"{path.stem}: skipped: {tile.detail}", file=sys.stderr)
    out = options.out or options.root / f"seeds{'-preview' if options.preview else ''}.png"
    write_picture(contact_sheet(tiles, title=TITLE, side=options.tile), out)
    print(out)


def _tile(path: Path, options: argparse.Namespace) -> Tile:
    """Render one config; whatever cannot be had is said on its tile."""
    try:
        config, stands_in_for = _config(path, options)
        done = _rendered(config, options.root)
    except PipelineError as error:
        return Tile(None, path.stem, str(error))
    return Tile(_shown(done, options.tile), path.stem, _weights(config, stands_in_for))


def _rendered(config: Config, root: Path) -> Rendered:
    """Render, go on with a render that was stopped, or replace one of other settings or photos."""
    try:
        return render(config, root=root)
    except ResumeError:
        return render(config, root=root, overwrite=True)


def _config(path: Path, options: argparse.Namespace) -> tuple[Config, str]:
    """The config with its photo and weights put in, and the model that another stands in for."""
    config = load_config(path)
    overrides = []
    if config.source.kind == "image" and options.input:
        overrides.append(f"source.path={options.input}")
    if config.dream.guide and options.guide:
        overrides.append(f"dream.guide.path={options.guide}")
    model, own = config.dream.model, config.dream.model
    instead = dict(options.instead)
    if stand_in := instead.get(path.stem) or instead.get(own):
        model, _, layer = stand_in.partition(":")
        overrides.append(f"dream.model={model}")
        if config.dream.layers is not None:
            overrides.append(f"dream.layers={layer or 'null'}")
    if file := dict(options.weights).get(model):
        overrides.append(f"dream.weights={file}")
    config = load_config(path, overrides)
    if options.preview:
        config = preview(config)
    return config, own if model != own else ""


def _shown(done: Rendered, width: int) -> Frame:
    """A sheet if that is what a config makes, else the middle of its last frame, 4:3."""
    size = (width, width * 3 // 4)
    sheets = [path for path in done.outputs if path.stem.endswith(("-sheet", "-maps"))]
    if sheets:
        return fit(read_picture(sheets[0]), size)
    picture = read_picture(done.folder / f"frames/{done.frames - 1:06d}.png")
    height, width = picture.shape[:2]
    across, down = min(width, height * 4 // 3), min(height, width * 3 // 4)
    left, top = (width - across) // 2, (height - down) // 2
    return resize(picture[top : top + down, left : left + across], size)


def _weights(config: Config, stands_in_for: str) -> str:
    dream = config.dream
    if stands_in_for:
        return f"{dream.model}, not {stands_in_for}"
    if dream.weights is None:
        return f"{dream.model}, {MODELS[dream.model].source}"
    file = Path(dream.weights).stem
    return file if file.startswith(dream.model) else f"{dream.model}, {file}"


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return key, value


if __name__ == "__main__":
    main()
