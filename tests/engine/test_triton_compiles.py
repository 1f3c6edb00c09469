"""Triton's programs become machine code for real GPUs; none is needed to see that."""

import os

import pytest
import torch

from pipeline.engine.torch_kernels import Window

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted Triton compiles nothing"
)
_TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.uint8: "*u8",
    int: "i32",
    float: "fp32",
}
# A block of an H100 or an A100 has so much; Triton would refuse to launch more.
_SHARED_BYTES = 163 * 1024


def compiled(program, arguments, constants, capability):
    """Compile what a launch with these arguments would run."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = program.arg_names
    given = dict(zip([name for name in names if name not in constants], arguments, strict=True))
    # As a launch does: what is 1, a stride say, becomes part of the program.
    constants = constants | {k: v for k, v in given.items() if type(v) is int and v == 1}
    types = {k: _TYPES[v.dtype if torch.is_tensor(v) else type(v)] for k, v in given.items()}
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    source = ASTSource(
        fn=program,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    target = GPUTarget("cuda", capability, 32)
    return compile(source, target=target, options={"enable_fp_fusion": True})


def calls(k):
    """Every kernel, in the precisions that it meets."""
    window = Window((3, 3), (2, 2), (0, 0), True)
    picture, offsets = torch.zeros(2, 3, 90, 160), torch.zeros(2, 2, dtype=torch.int64)
    number = torch.zeros(2)
    yield lambda: k.shift(picture, offsets)
    yield lambda: k.shift(picture.contiguous(memory_format=torch.channels_last), offsets)
    yield lambda: k.shift(picture[:, :, :1, :1], offsets)
    yield lambda: k.cascade(picture[:, :, :2, :2], number, 1)
    yield lambda: k.climb(picture[:, :, :1], picture[:, :, :1], number, number[:, None], offsets)
    yield lambda: k.cascade(picture, number, 4)
    yield lambda: k.climb(picture, picture, number, torch.zeros(2, 57), offsets)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x, bias = torch.zeros(2, 64, 45, 80, dtype=dtype), torch.zeros(64, dtype=dtype)
        places = torch.zeros(2, 64, 22, 40, dtype=torch.uint8)
        yield lambda x=x, bias=bias: k.rectify_(x, bias)
        yield lambda x=x: k.masked(x, x)
        yield lambda x=x: k.masked(x, x, x)
        yield lambda x=x: k.max_pool(x, window)
        yield lambda x=x, bias=bias: k.max_pool(x, window, bias)
        small = x[:, :, :22, :40]
        yield lambda x=x, g=small, p=places: k.max_pool_backward(g, p, window, x.shape)
        yield lambda x=x: k.response_norm(x, 2, 1e-4, 0.75, 1.0)
        yield lambda x=x: k.response_norm_backward(x, x, 2, 1e-4, 0.75, 1.0)


@pytest.mark.parametrize("capability", [90, pytest.param(80, marks=pytest.mark.slow)])
def test_every_launch_compiles(monkeypatch, capability):
    pytest.importorskip("triton")
    from pipeline.engine import triton_kernels

    programs = []

    def launch(program, grid, arguments, **constants):
        assert all(side > 0 for side in grid)
        programs.append(compiled(program, arguments, constants, capability))

    monkeypatch.setattr(triton_kernels, "_launch", launch)
    for call in calls(triton_kernels):
        call()
    assert len(programs) == 31
    for program in programs:
        assert len(program.asm["cubin"]) > 1000
        assert program.metadata.shared < _SHARED_BYTES
        assert ".local" not in program.asm["ptx"]  # no array of registers went to memory
