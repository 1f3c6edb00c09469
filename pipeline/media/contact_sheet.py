"""Labelled contact sheets: many pictures on one, equal tiles in a grid, a caption under each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.media.ffmpeg import Frame, Size
from pipeline.media.images import fit

Colour = tuple[int, int, int]

_BACKGROUND: Colour = (22, 22, 24)
_EMPTY: Colour = (36, 36, 40)
_TITLE: Colour = (238, 238, 238)
_CAPTION: Colour = (208, 208, 210)
_DETAIL: Colour = (136, 136, 142)
# OpenCV 5 draws its own TrueType font under this name, OpenCV 4 strokes; both anti-aliased.
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT = 22  # pixels of an ascending letter at scale 1
_ELLIPSIS = "..."  # the one character for it is not in OpenCV 4's font
_SHAPE = 1.5  # width over height that a sheet aims at
_SMALLEST_TEXT, _LARGEST_TEXT = 9, 15  # pixels of an ascending letter


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        picture: uint8 RGB [H, W, 3]; None leaves the tile empty.
        caption: below it.
        detail: below that, less bright; inside the tile if that is empty.
    """

    picture: Frame | None
    caption: str = ""
    detail: str = ""


class Box(NamedTuple):
    """A rectangle of a sheet, pixels; `right` and `bottom` lie outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """(width, height)."""
        return self.right - self.left, self.bottom - self.top


@dataclass(frozen=True)
class Layout:
    """Where everything on a sheet is, pixels.

    Attributes:
        size: (width, height) of the sheet.
        text: height of an ascending letter of a caption.
        title: the box of the title; empty without one.
        tiles: a box per tile, row by row.
        captions: a box per tile and line of text.
    """

    size: Size
    text: int
    title: Box
    tiles: tuple[Box, ...]
    captions: tuple[tuple[Box, ...], ...]


def layout(count: int, tile: Size, *, columns: int | None, lines: int, title: bool) -> Layout:
    """Lay out a sheet.

    Args:
        count: of tiles, >= 1.
        tile: (width, height) of each.
        columns: of the grid; None: as many as make the sheet half as wide again as high.
        lines: of text below each tile, 0 to 2.
        title: whether there is a line above the grid.

    Returns:
        Boxes that do not overlap.

    Raises:
        ValueError: no tiles, or no columns.
    """
    if count < 1 or (columns is not None and columns < 1):
        raise ValueError(f"a sheet has tiles and columns; got {count = }, {columns = }")
    width, height = tile
    text = min(max(width // 18, _SMALLEST_TEXT), _LARGEST_TEXT)
    gutter = max(4, text // 2)
    line = round(1.75 * text)
    label = lines * line + gutter if lines else 0
    margin = 2 * gutter + text
    head = round(3.2 * text) if title else 0
    columns = min(count, columns or _columns(count, (width + gutter, height + label + gutter)))
    rows = math.ceil(count / columns)
    tiles, captions = [], []
    for k in range(count):
        left = margin + k % columns * (width + gutter)
        top = margin + head + k // columns * (height + label + gutter)
        tiles.append(Box(left, top, left + width, top + height))
        first = top + height + gutter // 2
        captions.append(
            tuple(
                Box(left, first + i * line, left + width, first + (i + 1) * line)
                for i in range(lines)
            )
        )
    right = 2 * margin + columns * (width + gutter) - gutter
    bottom = 2 * margin + head + rows * (height + label + gutter) - gutter
    above = Box(margin, margin, right - margin, margin + 2 * head // 3)
    return Layout((right, bottom), text, above, tuple(tiles), tuple(captions))


def contact_sheet(
    tiles: Sequence[Tile], *, title: str = "", columns: int | None = None, side: int | None = None
) -> Frame:
    """Draw a labelled contact sheet.

    Args:
        tiles: in reading order, at least one. Pictures of other shapes than the first are fitted
            into a tile of its size.
        title: above the grid.
        columns: of the grid; None: by itself.
        side: longer side of a tile, pixels; None: that of the first picture.

    Returns:
        uint8 RGB [H, W, 3]. Text that is too long ends in an ellipsis.

    Raises:
        ValueError: no tiles.
    """
    size = _tile_size(tiles, side)
    lines = 0
    for tile in tiles:
        lines = max(lines, 2 if tile.detail and tile.picture is not None else bool(tile.caption))
    plan = layout(len(tiles), size, columns=columns, lines=lines, title=bool(title))
    sheet = np.full((plan.size[1], plan.size[0], 3), _BACKGROUND, np.uint8)
    if title:
        _write(sheet, plan.title, title, round(1.3 * plan.text), _TITLE)
    for tile, box, captions in zip(tiles, plan.tiles, plan.captions, strict=True):
        if tile.picture is None:
            _draw_empty(sheet, box, tile.detail, plan.text)
        else:
            picture = fit(tile.picture, size)
            height, width = picture.shape[:2]
            left = box.left + (size[0] - width) // 2
            top = box.top + (size[1] - height) // 2
            sheet[top : top + height, left : left + width] = picture
        below = (tile.caption, "" if tile.picture is None else tile.detail)
        for line, words, colour in zip(captions, below, (_CAPTION, _DETAIL), strict=False):
            _write(sheet, line, words, plan.text, colour)
    return sheet


def shortened(text: str, width: int, height: int) -> str:
    """Shorten a text to a width, ending in an ellipsis where something is left out.

    Args:
        text: one line.
        width: pixels there are.
        height: of an ascending letter, pixels.

    Returns:
        The text, its beginning and an ellipsis, or nothing if not even that fits.
    """
    if _width(text, height) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        short = text[:end].rstrip() + _ELLIPSIS
        if _width(short, height) <= width:
            return short
    return ""


def _tile_size(tiles: Sequence[Tile], side: int | None) -> Size:
    pictures = [tile.picture for tile in tiles if tile.picture is not None]
    if not pictures:
        return side or 256, side or 256
    height, width = pictures[0].shape[:2]
    scale = (side or max(width, height)) / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _columns(count: int, cell: Size) -> int:
    """The number that comes closest to `_SHAPE`, places left empty counting against it."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = columns * cell[0] / (rows * cell[1])
        return abs(math.log(shape / _SHAPE)) + (rows * columns - count) / count

    return min(range(1, count + 1), key=cost)


def _draw_empty(sheet: Frame, box: Box, words: str, text: int) -> None:
    """Say in an empty tile why it is empty, on as many lines as there is room for."""
    sheet[box.top : box.bottom, box.left : box.right] = _EMPTY
    line = round(1.75 * text)
    left, right = box.left + text, box.right - text
    room = (box.bottom - box.top - 2 * text) // line
    for k, part in enumerate(_wrapped(words, right - left, text, room)):
        top = box.top + text + k * line
        _write(sheet, Box(left, top, right, top + line), part, text, _DETAIL)


def _wrapped(words: str, width: int, height: int, most: int) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (_width(longer, height) <= width or len(lines) == most):
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:most]


def _write(sheet: Frame, box: Box, text: str, height: int, colour: Colour) -> None:
    """Write one line at the left of a box, and nothing outside it."""
    words = shortened(text, box.right - box.left, height)
    if not words:
        return
    strip = np.ascontiguousarray(sheet[box.top : box.bottom, box.left : box.right])
    base = (strip.shape[0] + height) // 2
    scale = height / _FONT_HEIGHT
    cv2.putText(strip, words, (0, base), _FONT, scale, colour, 1, cv2.LINE_AA)
    sheet[box.top : box.bottom, box.left : box.right] = strip


def _width(text: str, height: int) -> int:
    size, _ = cv2.getTextSize(text, _FONT, height / _FONT_HEIGHT, 1)
    return int(size[0])
