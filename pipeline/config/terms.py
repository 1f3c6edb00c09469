"""The terms of a dream's objective: what each layer is asked for, and what is climbed when."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

from pipeline.config.channels import ChannelSchedule, Chosen, Each, Some
from pipeline.schedule import Schedule

Objective = Literal["mean_square", "norm", "mean", "neuron", "guide"]


class LayerTerm(NamedTuple):
    """What one layer is asked for, with every default filled in."""

    layer: str
    weight: Schedule
    objective: Objective
    channels: Chosen


class ClimbedTerm(NamedTuple):
    """One term of the objective, always of the same channels; a class is its logit.

    Attributes:
        layer: whose activation is climbed.
        weight: of the layer or class.
        objective: what is made to grow.
        channels: of the layer.
        share: of the weight, for channels that take turns with others of the layer.
    """

    layer: str
    weight: Schedule
    objective: Objective
    channels: Some | Each
    share: Schedule = Schedule(1.0)

    def weight_at(self, frame: int, fps: Fraction) -> float:
        """Return what the term weighs at a frame.

        Raises:
            ConfigError: the weight has no finite value there.
        """
        return self.weight.at(frame, fps) * self.share.at(frame, fps)


def climbed(term: LayerTerm) -> Iterator[ClimbedTerm]:
    """Make the terms of a layer: one, or one for all that its channels are at some time."""
    layer, weight, objective, channels = term
    if isinstance(channels, ChannelSchedule):
        for some, share in channels.shares().items():
            yield ClimbedTerm(layer, weight, objective, some, share)
    else:
        yield ClimbedTerm(layer, weight, objective, channels)
