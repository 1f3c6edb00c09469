"""Steps on a GPU: fused kernels, and each kind of step recorded once and played again.

A step at a small octave takes a GPU less time than Python takes to launch its hundred kernels. So
it is recorded as a CUDA graph, one for each shape of batch, and launched as a whole. Nothing that
changes from step to step is part of the recording: shifts, sigmas, steps and weights are read from
tensors that are filled in before it is played.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pipeline.engine.footing import Knobs, Step
from pipeline.engine.fused_steps import FusedFooting, brought
from pipeline.engine.kernels import Kernels

# Two batch sizes (a plan's last batch is smaller) at each of some octaves; of a folder's many sizes
# the last ones.
MOST_RECORDINGS = 16

Record = Callable[[Callable[[], None]], Callable[[], None]]


class GpuFooting(FusedFooting):
    """Steps as a GPU takes them, see `footing.Footing`.

    Args:
        kernels: `triton_kernels`, or `torch_kernels` in its place.
        whole: whether a batch of such a shape goes through the network in one piece. In several,
            its steps are not recorded: they are so large that launching them takes no time.
        record: records what a function launches, and gives what plays it.

    Attributes:
        refusal: why steps are not recorded any more; None as long as they are.
    """

    def __init__(
        self,
        kernels: Kernels,
        *,
        whole: Callable[[torch.Size], bool],
        record: Record | None = None,
    ) -> None:
        super().__init__(kernels)
        self._whole = whole
        self._record = record or CudaGraphs()
        self._recordings: OrderedDict[Hashable, _Recording | None] = OrderedDict()
        self.refusal: str | None = None

    def walk(self, step: Step, picture: Tensor, way: Sequence[Knobs]) -> tuple[Tensor, Tensor]:
        """Take one step after the other, or play the recording of them."""
        way = brought(way, picture.device)
        recording = self._recording(step, picture, way)
        if recording:
            return recording.play(picture, way)
        for knobs in way:
            picture, value = step(picture, knobs)
        return picture, value

    def _recording(self, step: Step, picture: Tensor, way: Sequence[Knobs]) -> "_Recording | None":
        """Find the recording that stands for all steps of a way; None where there is none.

        The first walk over a shape is taken step by step. Should it be the only one, nothing was
        lost; if another follows, cuDNN has chosen its algorithms and Triton has compiled by then.
        """
        if not self._whole(picture.shape):
            self._recordings.clear()  # their memory may be what is short
            return None
        kinds = {knobs.kind for knobs in way}
        if self.refusal or None in kinds or len(kinds) > 1:
            return None
        key = (picture.shape, way[0].dials.shape, way[0].reach is None, *kinds)
        known = key in self._recordings
        recording = self._recordings.pop(key, None)
        if known and recording is None:
            try:
                recording = _Recording(step, picture, way[0], self._record)
            except Exception as error:  # whatever a driver says: steps can be taken one by one
                self.refusal = str(error).partition("\n")[0] or type(error).__name__
        self._recordings[key] = recording
        while len(self._recordings) > MOST_RECORDINGS:
            self._recordings.popitem(last=False)
        return recording


class _Recording:
    """A step, recorded, and the tensors that it reads from and writes to."""

    def __init__(self, step: Step, picture: Tensor, knobs: Knobs, record: Record) -> None:
        self._picture = picture.clone()
        self._value = torch.empty_like(knobs.steps)
        self._mine = {name: tensor.clone() for name, tensor in knobs.tensors().items()}
        mine = knobs._replace(**cast("dict[str, Any]", self._mine))

        def once() -> None:
            climbed, value = step(self._picture, mine)
            self._picture.copy_(climbed)
            self._value.copy_(value)

        self._replay = record(once)

    def play(self, picture: Tensor, way: Sequence[Knobs]) -> tuple[Tensor, Tensor]:
        """Take the steps of a way from a picture."""
        self._picture.copy_(picture)
        before: dict[str, Tensor] = {}
        for knobs in way:
            given = knobs.tensors()
            for name, tensor in given.items():
                if before.get(name) is not tensor:
                    self._mine[name].copy_(tensor)
            before = given
            self._replay()
        return self._picture.clone(), self._value.clone()


class CudaGraphs:
    """Records what a function launches on a GPU.

    All recordings share their memory: they are played one after the other, and what is to outlive
    one lies elsewhere.
    """

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record; the result plays it.

        Raises:
            RuntimeError: the function did what cannot be recorded, such as waiting for the GPU.
        """
        graph, aside = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            run()  # what a stream sets up for itself when it is first used stays outside
        torch.cuda.current_stream().wait_stream(aside)
        # Other threads use the GPU meanwhile: a learned optical flow.
        mode = "thread_local"
        with torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode=mode):
            run()
        return graph.replay
