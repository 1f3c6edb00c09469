"""What a test needs of the machine it runs on, as the engine itself asks."""

import pytest
import torch

from pipeline.engine import capabilities

native_bf16 = pytest.mark.skipif(
    not capabilities.has_convolution(torch.bfloat16),
    reason="oneDNN has no bf16 convolution on this CPU",
)
