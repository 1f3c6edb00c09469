"""What a loop asks of a camera: that it moves alike at both ends."""

import math
from fractions import Fraction

from pipeline.config.blocks import CameraFeedback, ImageSource, NoiseSource
from pipeline.config.checks import refuse


def check_loop(feedback: CameraFeedback, source: NoiseSource | ImageSource) -> None:
    """Refuse a loop that cannot close.

    Args:
        feedback: with a `loop` above 0.
        source: what the camera looks at.
    """
    frames, turn = feedback.loop, source.frames - feedback.loop
    if frames > turn:
        refuse(
            f"{frames} frames at both ends need at least {2 * frames} frames, and source.frames is "
            f"{source.frames}",
            "loop",
        )
    rates = (
        ("zoom", feedback.zoom),
        ("rotate", feedback.rotate),
        *((f"move[{axis}]", rate) for axis, rate in enumerate(feedback.move)),
    )
    for name, rate in rates:
        for half in range(2 * frames + 1):
            moments = [Fraction(half, 2), Fraction(half, 2) + turn]
            first, last = (rate.at(moment, source.fps) for moment in moments)
            if not math.isclose(first, last, rel_tol=1e-6, abs_tol=1e-9):
                refuse(
                    f"the camera has to move alike in the first and the last {frames} frames, but "
                    f"feedback.{name} is {first:g} at frame {float(moments[0]):g} and {last:g} at "
                    f"frame {float(moments[1]):g}",
                    "loop",
                )


def rests(feedback: CameraFeedback) -> bool:
    """Whether the camera never moves."""
    still = ((feedback.zoom, 1), (feedback.rotate, 0), *((rate, 0) for rate in feedback.move))
    return all(rate.is_constant and rate.at(0, Fraction(1)) == value for rate, value in still)
