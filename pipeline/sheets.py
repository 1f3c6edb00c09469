"""Contact sheets of a render: its frames with captions, and what a layer sees in one of them."""

import math
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np

from pipeline.config import ClimbedTerm, Config, Each, MapsOutput, SheetOutput
from pipeline.engine.layers import resolve
from pipeline.media.contact_sheet import Tile, contact_sheet
from pipeline.media.ffmpeg import Frame
from pipeline.media.fitting import Frames
from pipeline.media.images import fit
from pipeline.media.sources import Source
from pipeline.schedule import Schedule

_MOST_PIXELS = 40_000_000  # of all tiles of a sheet together


def frame_sheet(output: SheetOutput, frames: Frames, source: Source, config: Config) -> Frame:
    """Draw frames side by side.

    Args:
        output: how.
        frames: the dreamed ones, uint8 RGB [H, W, 3].
        source: what they were dreamed from.
        config: of the render.

    Returns:
        uint8 RGB [H, W, 3].
    """
    total = len(frames)
    count = min(output.count or total, total)
    chosen = [round(k * (total - 1) / max(1, count - 1)) for k in range(count)]
    side = output.tile or _side(source.sizes[0], count)
    tiles = [
        Tile(fit(frames[frame], (side, side)), caption(config, source, frame)) for frame in chosen
    ]
    title = _title(config) if output.title is None else output.title
    return contact_sheet(tiles, title=title, columns=output.columns, side=side)


def caption(config: Config, source: Source, frame: int) -> str:
    """Say what sets a frame apart: channels, layers and classes, file, or else its time."""
    terms = config.dream.terms()
    apart = [name for term in terms for name in _channels(term, frame, source.fps)]
    weights = _weights(config)
    if any(not weight.is_constant for weight in weights.values()):
        apart += [name for name, weight in weights.items() if weight.at(frame, source.fps) != 0]
    if len(source.names) > 1:
        apart.append(source.names[frame])
    if apart or len(source.sizes) == 1:
        return ", ".join(apart)
    return f"{float(frame / source.fps):.2f} s"


def _channels(term: ClimbedTerm, frame: int, fps: Fraction) -> Iterator[str]:
    """Name a term's channels where not every frame climbs the same."""
    if isinstance(term.channels, Each):
        yield str(term.channels.at(frame))
    elif not term.share.is_constant and term.weight_at(frame, fps) != 0:
        yield "all" if term.channels is None else "+".join(map(str, term.channels))


def _title(config: Config) -> str:
    names = list(_weights(config))
    named = ", ".join(names) if len(names) <= 3 else f"{len(names)} layers and classes"
    return f"{config.name}: {named} of {config.dream.model}"


def _weights(config: Config) -> dict[str, Schedule]:
    """The weights of all layers and classes that are climbed, by name."""
    layers = {term.layer: term.weight for term in config.dream.layer_terms()}
    return layers | dict(config.dream.classes or {})


def _side(size: tuple[int, int], count: int) -> int:
    """The longer side of a frame, or what keeps very many of them to a size that can be opened."""
    scale = min(1.0, math.sqrt(_MOST_PIXELS / (count * size[0] * size[1])))
    return max(16, int(max(size) * scale))


def map_sheet(output: MapsOutput, picture: Frame, config: Config) -> Frame:
    """Draw the maps of the channels that a picture excites most, after the picture itself.

    Every map is scaled by its own maximum and shown in cv2's perceptual colours.

    Args:
        output: which layer, and how many channels.
        picture: uint8 RGB [H, W, 3].
        config: whose network looks.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        WeightsError: no weights, or they end before the layer.
    """
    from pipeline.engine.feature_maps import strongest_maps
    from pipeline.feedback.seed import to_tensor
    from pipeline.weights import load_network

    dream = config.dream
    layer = resolve(dream.model, output.layer or dream.first_layer())
    network, _ = load_network(dream.model, dream.weights)
    maps = strongest_maps(network, layer.node, to_tensor(picture, "cpu"), output.count)
    height, width = picture.shape[:2]
    tiles = [Tile(picture, "the picture", f"{width}x{height}")]
    for each in maps:
        share = cv2.resize(
            each.map.numpy() / each.peak, (width, height), interpolation=cv2.INTER_CUBIC
        )
        colours = cv2.applyColorMap(
            (share.clip(0, 1) * 255 + 0.5).astype(np.uint8), cv2.COLORMAP_INFERNO
        )
        tiles.append(
            Tile(
                np.ascontiguousarray(colours[..., ::-1]),
                f"{each.channel}",
                f"max {each.peak:.3g}  mean {each.mean:.3g}",
            )
        )
    title = f"{layer.name} of {dream.model}: the {len(maps)} channels excited most"
    return contact_sheet(tiles, title=title, columns=output.columns, side=output.tile)
