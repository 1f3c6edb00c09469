"""Sizes of the octaves. No torch here: a plan is shown without it."""


def octave_sizes(size: tuple[int, int], octaves: int, ratio: float) -> list[tuple[int, int]]:
    """Sizes of the octaves, coarse to fine; each is rounded from the full size, not recursively.

    Args:
        size: (width, height) of the full picture.
        octaves: how many levels, the full size included.
        ratio: size of a level over the size of the next coarser one, > 1.

    Returns:
        (width, height) per octave; the last is `size`.
    """
    width, height = size
    return [
        (max(1, round(width / ratio**k)), max(1, round(height / ratio**k)))
        for k in reversed(range(octaves))
    ]


def usable_octaves(
    size: tuple[int, int], octaves: int, ratio: float, smallest: int
) -> list[tuple[int, int]]:
    """`octave_sizes` without the levels too small for the network to see anything in."""
    return [s for s in octave_sizes(size, octaves, ratio) if min(s) >= smallest]
