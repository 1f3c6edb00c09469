"""Where one shot ends and the next begins."""

import functools
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.media.facts import Facts

Grey = NDArray[np.uint8]  # (height, width)

# How different times how unconnected. Hard cuts of films reach 20 to 30, cuts between unrelated
# pictures of equal brightness 6.5 and more; a bird that throws its head across the whole picture
# (the share falls to .36) stays at 3.7, a fade from black (the share falls to .04) under .5.
_CUT = 5.0
_LEAST_SIDE = 48


def find_cuts(facts: Facts, by_hand: Iterable[int] = ()) -> list[int]:
    """Find the hard cuts of an ingested video.

    A frame starts a shot if it differs from the one before (scdet's score) and does not move on
    from it (share of consistent pixels): score * (1 - share) >= 5. Either alone errs: a flash or a
    whip pan has the score, a fade in the dark the share. Dissolves are not cuts.

    Args:
        facts: of the video.
        by_hand: further first frames of shots.

    Returns:
        The first frame of every shot but the first, ascending.

    Raises:
        ConfigError: a frame by hand that is not in the video.
    """
    last = facts.frames - 1
    cuts = {
        frame
        for frame in range(1, facts.frames)
        if facts.scores[frame] * (1 - facts.shares[frame]) >= _CUT
    }
    for frame in by_hand:
        if not 0 <= frame <= last:
            raise ConfigError(f"cuts: there is no frame {frame}: {facts.name} has 0 to {last}")
        cuts.add(frame)
    return sorted(cuts - {0})


class Comparison:
    """Compares each frame of a video with the one before.

    Called with the frames in order, uint8 grey (height, width), small, it returns scdet's score and
    the consistent share (for the first frame 0 and 1), rounded as they are stored.
    """

    def __init__(self) -> None:
        self._before: Grey | None = None
        self._difference = 0.0

    def __call__(self, frame: Grey) -> tuple[float, float]:
        """Compare `frame` with the one of the call before."""
        before, self._before = self._before, frame
        if before is None:
            return 0.0, 1.0
        # The formula of ffmpeg's scdet filter: how much the mean absolute difference, in per cent,
        # differs from that of the pair before, but no more than it is itself. Not the filter: its
        # scores would come through the log, where threads write into each other's lines.
        difference = float(cv2.absdiff(before, frame).mean()) * 100 / 256
        score = min(difference, abs(difference - self._difference))
        self._difference = difference
        return round(score, 3), round(consistent_share(before, frame), 4)


def consistent_share(before: Grey, after: Grey) -> float:
    """Return the share of pixels whose motion between two frames is the same both ways.

    A pixel x passes if |b + f(x+b)|^2 < 0.01 (|b|^2 + |f|^2) + 0.5 (Sundaram et al. 2010, eq. 5).
    Within a shot most do; across a cut there is no motion to find and few do.

    Args:
        before: a small grey frame, uint8 (height, width).
        after: the next one.

    Returns:
        0 to 1.
    """
    height, width = before.shape
    # OpenCV 5 crashes in this preset where a side is under 32 px (80x20, 256x24).
    bottom, right = max(0, _LEAST_SIDE - height), max(0, _LEAST_SIDE - width)
    before, after = (
        np.asarray(cv2.copyMakeBorder(grey, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        for grey in (before, after)
    )
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    forward = dis.calc(before, after, None)  # type: ignore[call-overload]
    backward = dis.calc(after, before, None)  # type: ignore[call-overload]
    columns, rows = _grid(*before.shape)
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    there = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    apart = ((backward + there) ** 2).sum(-1)
    allowed = 0.01 * ((backward**2).sum(-1) + (there**2).sum(-1)) + 0.5
    return float((apart < allowed)[:height, :width].mean())


@functools.lru_cache(maxsize=1)
def _grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return columns.astype(np.float32), rows.astype(np.float32)
