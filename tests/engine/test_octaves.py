import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.octaves import octave_sizes, usable_octaves


def test_sizes_are_rounded_from_the_full_size():
    assert octave_sizes((640, 360), 4, 1.4) == [(233, 131), (327, 184), (457, 257), (640, 360)]


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.integers(1, 16),
    st.floats(1.01, 4),
)
def test_octaves_grow_up_to_the_full_size(size, octaves, ratio):
    sizes = octave_sizes(size, octaves, ratio)
    assert len(sizes) == octaves
    assert sizes[-1] == size
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(sizes))
    assert min(min(s) for s in sizes) >= 1


def test_octaves_too_small_for_the_network_are_left_out():
    assert usable_octaves((640, 360), 4, 1.4, 150) == [(327, 184), (457, 257), (640, 360)]
    assert usable_octaves((640, 360), 4, 1.4, 400) == []
