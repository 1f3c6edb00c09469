"""Pictures to tensors and back: the values, and how they lie."""

import numpy as np
import pytest
import torch

from pipeline.feedback.seed import stacked, to_pictures, to_tensor

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def test_there_and_back_is_the_same_picture():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = to_tensor(every, "cpu")
    assert torch.equal(tensor, torch.from_numpy(every).permute(2, 0, 1) / 255)
    assert np.array_equal(to_pictures(tensor[None])[0], every)


def test_a_view_of_a_larger_picture_is_read_as_it_is():
    assert np.array_equal(
        to_pictures(to_tensor(PICTURE[::2, 1:5], "cpu")[None])[0], PICTURE[::2, 1:5]
    )


@pytest.mark.parametrize("count", [1, 3])
def test_stacked_pictures_are_what_the_engine_reads(count):
    pictures = [to_tensor(PICTURE, "cpu") / (k + 1) for k in range(count)]
    planar = [picture.contiguous() for picture in pictures]
    for each in (pictures, planar):
        batch = stacked(each)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, torch.stack(pictures))
