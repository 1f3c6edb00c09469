"""Labelled contact sheets: nothing overlaps, nothing overflows, every pixel is where it belongs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.media.contact_sheet import Box, Tile, contact_sheet, layout, shortened

SIDES = st.integers(16, 400)


def overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (48, 32)) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, np.uint8)


@given(
    count=st.integers(1, 30),
    tile=st.tuples(SIDES, SIDES),
    columns=st.none() | st.integers(1, 12),
    lines=st.integers(0, 2),
    title=st.booleans(),
)
def test_boxes_are_equal_inside_the_sheet_and_apart(count, tile, columns, lines, title):
    plan = layout(count, tile, columns=columns, lines=lines, title=title)
    assert len(plan.tiles) == len(plan.captions) == count
    assert {box.size for box in plan.tiles} == {tile}
    assert {len(each) for each in plan.captions} == {lines}
    boxes = [*plan.tiles, *(box for each in plan.captions for box in each)]
    boxes += [plan.title] if title else []
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
    for box in boxes:
        assert 0 < box.left < box.right < plan.size[0]
        assert 0 < box.top < box.bottom < plan.size[1]
    assert all(box.left == at.left for at, each in zip(plan.tiles, plan.captions, strict=True)
               for box in each)  # fmt: skip
    if columns:
        assert len({box.left for box in plan.tiles}) == min(columns, count)


@settings(max_examples=60)
@given(text=st.text(max_size=60), side=st.integers(20, 120))
def test_no_text_leaves_its_tile(text, side):
    """A sheet with a long caption differs from one without only inside the caption's box."""
    pictures = [flat((90, 40, 10), (side, side)), flat((10, 40, 90), (side, side))]
    plain = contact_sheet([Tile(pictures[0], " "), Tile(pictures[1], " ")], columns=2)
    written = contact_sheet([Tile(pictures[0], text), Tile(pictures[1], " ")], columns=2)
    if not text:
        return
    plan = layout(2, (side, side), columns=2, lines=1, title=False)
    box = plan.captions[0][0]
    changed = (plain != written).any(axis=2)
    changed[box.top : box.bottom, box.left : box.right] = False
    assert not changed.any()


def test_pictures_are_on_it_as_they_are():
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    sheet = contact_sheet([Tile(flat(c), str(c)) for c in colours], title="three", columns=2)
    plan = layout(3, (48, 32), columns=2, lines=1, title=True)
    assert sheet.shape == (plan.size[1], plan.size[0], 3)
    assert sheet.dtype == np.uint8
    for colour, box in zip(colours, plan.tiles, strict=True):
        assert (sheet[box.top : box.bottom, box.left : box.right] == colour).all()
    title = sheet[plan.title.top : plan.title.bottom, plan.title.left : plan.title.right]
    assert title.max() > 200


def test_pictures_of_another_shape_are_fitted():
    sheet = contact_sheet([Tile(flat((255, 0, 0), (60, 40))), Tile(flat((0, 255, 0), (40, 60)))])
    red = (sheet == (255, 0, 0)).all(axis=2).sum()
    green = (sheet == (0, 255, 0)).all(axis=2).sum()
    assert red == 60 * 40
    assert green == 40 * round(40 * 40 / 60)


def test_tiles_can_be_made_smaller():
    sheet = contact_sheet([Tile(flat((255, 0, 0), (60, 40)))], side=30)
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 30 * 20


def test_an_empty_tile_says_why():
    reason = "its weights are not here"
    full, empty = Tile(flat((255, 0, 0), (120, 90)), "a"), Tile(None, "b", reason)
    said, silent = contact_sheet([full, empty]), contact_sheet([full, Tile(None, "b")])
    box = layout(2, (120, 90), columns=None, lines=1, title=False).tiles[1]
    inside = np.s_[box.top : box.bottom, box.left : box.right]
    assert (said[inside] != silent[inside]).any()
    assert len(np.unique(silent[inside].reshape(-1, 3), axis=0)) == 1
    assert contact_sheet([Tile(None, "all", reason)]).size > 0


def test_long_text_is_shortened_and_short_text_is_not():
    assert shortened("mixed4a", 400, 12) == "mixed4a"
    short = shortened("mixed4a and then a good deal more", 100, 12)
    assert short.endswith("...")
    assert short.startswith("mixed4a")
    assert shortened("anything", 3, 12) == ""


def test_a_sheet_without_tiles_is_refused():
    with pytest.raises(ValueError, match="count = 0"):
        contact_sheet([])
