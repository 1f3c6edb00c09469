"""Draw how a dream's time grows: with the pixels of a picture, and with the pictures of a batch.

Both axes are logarithmic. Beside each precision's line its floor is drawn, dashed: the operations
that the work takes over the most that this machine was seen to convolve in that precision.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from bench_engine import Row
from bench_results import Results

_SCALE = 3  # drawn so much larger, then made smaller: smooth lines
_SIZE = (1280, 560)
_PAPER, _INK, _FAINT, _GRID = (255, 255, 255), (45, 40, 38), (135, 128, 124), (232, 229, 227)
_COLOURS = {"baseline": (120, 114, 110), "fp32": (176, 108, 34), "bf16": (44, 84, 214)}  # BGR
_FONT = cv2.FONT_HERSHEY_DUPLEX
_TICKS = (1, 2, 5)

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points of one colour; dashed where nothing was measured but a floor computed."""

    name: str
    points: list[Point]
    colour: tuple[int, int, int]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A pair of axes: where it stands on the sheet, pixels, and what it shows."""

    left: int
    top: int
    width: int
    height: int
    title: str
    across: str
    lines: list[Line]
    labels: dict[float, str]


def draw(path: Path, measured: Results) -> None:
    """Draw the results of one machine as a PNG."""
    sheet = np.full((_SIZE[1] * _SCALE, _SIZE[0] * _SCALE, 3), _PAPER, np.uint8)
    _panels(sheet, measured)
    sheet = cv2.resize(sheet, None, fx=1 / _SCALE, fy=1 / _SCALE, interpolation=cv2.INTER_AREA)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet, (cv2.IMWRITE_PNG_COMPRESSION, 9))


def _panels(sheet: np.ndarray, results: Results) -> None:
    rows = list(results.works.values())
    sizes = sorted(
        (r for r in rows if r.work.name == "B" or r.work.name.startswith("E/")),
        key=lambda r: r.work.size,
    )
    batches = [r for r in rows if r.work.name.startswith("F/")]
    where = ", ".join(results.machine[k] for k in ("device", "capability") if k in results.machine)
    heading = f"BVLC GoogLeNet inception_4c, 4 octaves, 10 steps each: {where}"
    _text(sheet, heading, (70, 38), 0.62, _INK)
    panels = [
        ("seconds a picture, by its size", "pixels of the picture", sizes, _pixels, 70),
        ("seconds a picture, by how many share a batch", "pictures", batches, _batch, 720),
    ]
    for title, across, chosen, place, left in panels:
        labels = {place(r): _label(r, across) for r in chosen}
        lines = _lines(chosen, place)
        if lines:
            _panel(sheet, Panel(left, 96, 420, 390, title, across, lines, labels))


def _pixels(row: Row) -> float:
    return float(row.work.size[0] * row.work.size[1])


def _batch(row: Row) -> float:
    return float(row.work.batch)


def _label(row: Row, across: str) -> str:
    width, height = row.work.size
    return f"{row.work.batch}" if across == "pictures" else f"{width}x{height}"


def _lines(rows: Sequence[Row], place: Callable[[Row], float]) -> list[Line]:
    if not rows:
        return []
    rows = sorted(rows, key=place)  # a row that was measured again stands last in its file
    lines = []
    for way in rows[0].costs:
        colour = _COLOURS[way]
        lines.append(Line(way, [(place(r), r.costs[way].wall) for r in rows], colour))
        if way != "baseline":
            floor = [(place(r), r.gflop / r.peaks[way]) for r in rows]
            lines.append(Line(f"floor {way}", floor, colour, dashed=True))
    return lines


def _panel(sheet: np.ndarray, panel: Panel) -> None:
    x_low, x_high = _range([x for line in panel.lines for x, _ in line.points], 1.15)
    y_low, y_high = _range([y for line in panel.lines for _, y in line.points], 1.3)

    def at(point: Point) -> Point:
        along = math.log(point[0] / x_low) / math.log(x_high / x_low)
        up = math.log(point[1] / y_low) / math.log(y_high / y_low)
        return panel.left + along * panel.width, panel.top + (1 - up) * panel.height

    _text(sheet, panel.title, (panel.left, panel.top - 18), 0.52, _INK)
    for value in _ticks(y_low, y_high):
        _, y = at((x_low, value))
        _stroke(sheet, (panel.left, y), (panel.left + panel.width, y), _GRID, 1)
        _text(sheet, f"{value:g}", (panel.left - 10, y + 5), 0.42, _FAINT, right=True)
    for value, label in panel.labels.items():
        x, _ = at((value, y_low))
        bottom = panel.top + panel.height
        _stroke(sheet, (x, panel.top), (x, bottom), _GRID, 1)
        _text(sheet, label, (x, bottom + 22), 0.42, _FAINT, centre=True)
    taken: list[float] = []
    for line in sorted(panel.lines, key=lambda line: -line.points[-1][1]):
        places = [at(point) for point in line.points]
        for a, b in pairwise(places):
            (_dashes if line.dashed else _stroke)(sheet, a, b, line.colour, 2)
        if not line.dashed:
            for x, y in places:
                centre = (round(x * _SCALE), round(y * _SCALE))
                cv2.circle(sheet, centre, 5 * _SCALE, line.colour, -1, cv2.LINE_AA)
        # Names stand beside the last points, none on another.
        x, y = places[-1]
        y = max([y, *(other + 17 for other in taken[-1:])])
        taken.append(y)
        _text(sheet, line.name, (x + 14, y + 5), 0.46, line.colour)


def _range(values: Sequence[float], margin: float) -> Point:
    return min(values) / margin, max(values) * margin


def _ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [tick * 10.0**power for power in powers for tick in _TICKS]
    return [value for value in every if low <= value <= high]


def _stroke(
    sheet: np.ndarray, a: Point, b: Point, colour: tuple[int, int, int], width: int
) -> None:
    start, end = ((round(p[0] * _SCALE), round(p[1] * _SCALE)) for p in (a, b))
    cv2.line(sheet, start, end, colour, width * _SCALE, cv2.LINE_AA)


def _dashes(
    sheet: np.ndarray, a: Point, b: Point, colour: tuple[int, int, int], width: int
) -> None:
    length = max(1.0, math.dist(a, b))
    for begin in np.arange(0, length, 11):
        ends = (begin / length, min(begin + 6, length) / length)
        start, end = ((a[0] + (b[0] - a[0]) * s, a[1] + (b[1] - a[1]) * s) for s in ends)
        _stroke(sheet, start, end, colour, width)


def _text(
    sheet: np.ndarray,
    text: str,
    at: Point,
    size: float,
    colour: tuple[int, int, int],
    *,
    right: bool = False,
    centre: bool = False,
) -> None:
    (width, _), _ = cv2.getTextSize(text, _FONT, size * _SCALE, _SCALE)
    x = round(at[0] * _SCALE) - (width if right else width // 2 if centre else 0)
    place = (x, round(at[1] * _SCALE))
    cv2.putText(sheet, text, place, _FONT, size * _SCALE, colour, _SCALE, cv2.LINE_AA)
