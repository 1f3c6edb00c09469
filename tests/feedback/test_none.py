"""Pictures without parents: read ahead, in order, never more than a few."""

import threading

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.feedback.none import NoFeedback
from pipeline.feedback.seed import to_pictures, to_tensor, upload
from pipeline.plan import batches, independent_lanes

SIZE = (24, 16)


def nodes(count):
    lanes = independent_lanes([SIZE] * count, iterations=1)
    return [node for batch in batches(lanes, 1) for node in batch.nodes]


def picture(frame):
    return np.full((SIZE[1], SIZE[0], 3), frame, np.uint8)


def test_seeds_are_the_sources_whatever_the_window():
    for window in (1, 3):
        coming = nodes(6)
        feedback = NoFeedback(coming=coming, window=window)
        for node in coming:
            seed = feedback.seed(node, picture, [])
            assert torch.equal(seed, torch.full((3, 16, 24), node.id.frame / 255))
        feedback.close()


def test_reading_goes_ahead_but_not_far():
    read, wanted = [], threading.Event()

    def source(frame):
        read.append(frame)
        if len(read) == 4:
            wanted.set()
        return picture(frame)

    coming = nodes(20)
    feedback = NoFeedback(coming=coming, window=3)
    feedback.seed(coming[0], source, [])
    assert wanted.wait(10)  # three more, while nobody asks
    feedback.close()
    assert read == [0, 1, 2, 3]


def test_a_picture_that_cannot_be_read_is_heard_of_when_its_turn_comes():
    def source(frame):
        if frame == 2:
            raise InputError("2.jpg is damaged")
        return picture(frame)

    coming = nodes(3)
    feedback = NoFeedback(coming=coming, window=3)
    for node in coming[:2]:
        feedback.seed(node, source, [])
    with pytest.raises(InputError, match=r"2\.jpg"):
        feedback.seed(coming[2], source, [])
    feedback.close()


def test_pictures_survive_the_way_there_and_back():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    seeds = torch.stack([to_tensor(p, "cpu") for p in pictures])
    assert np.array_equal(np.stack(to_pictures(seeds)), pictures)


@pytest.mark.cuda
def test_cuda_pictures_survive_the_way_there_and_back(cuda):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    seeds = torch.stack([to_tensor(p, cuda) for p in pictures])
    assert np.array_equal(np.stack(to_pictures(seeds)), pictures)
    flow = np.random.default_rng(1).random((16, 24, 2), dtype=np.float32)
    assert np.array_equal(upload(flow, cuda).cpu().numpy(), flow)
