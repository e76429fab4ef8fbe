"""Which texts share a forward pass."""

from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.models.grouping import PASS_TOKENS, groups_of_least_cost


def cost(lengths, groups):
    return sum(PASS_TOKENS["cpu"] + len(group) * max(lengths[i] for i in group) for group in groups)


def splits(n, most):
    """Every way to cut n texts into consecutive groups."""
    if not n:
        yield []
    for first in range(1, min(n, most) + 1):
        for rest in splits(n - first, most):
            yield [range(first), *(range(group.start + first, group.stop + first) for group in rest)]


@given(st.lists(st.integers(1, 200), max_size=9).map(sorted), st.integers(1, 9))
def test_no_split_is_cheaper(lengths, most):
    groups = groups_of_least_cost(lengths, most)
    assert [index for group in groups for index in group] == list(range(len(lengths)))
    assert all(1 <= len(group) <= most for group in groups)
    assert cost(lengths, groups) == min(cost(lengths, each) for each in splits(len(lengths), most))


def test_long_texts_are_not_padded_onto_short_ones_on_a_processor_but_are_on_an_accelerator():
    lengths = [5] * 20 + [200] * 4
    assert groups_of_least_cost(lengths, 32) == [range(20), range(20, 24)]
    assert groups_of_least_cost(lengths, 32, "cuda") == [range(24)]
