"""Which texts share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

# What a pass costs beside its texts' tokens, in tokens. Measured with MiniLM on a processor: that of 35 to 50. An
# accelerator computes thousands of tokens in the time a pass takes to set up.
PASS_TOKENS = {"cpu": 40}
PASS_TOKENS_ELSEWHERE = 4000


def groups_of_least_cost(lengths: Sequence[int], most: int, device: str = "cpu") -> list[range]:
    """Consecutive texts, sorted by length, split into forward passes that together cost the least.

    A pass costs something by itself, and each of its texts as much as the longest: few passes against little padding.

    Args:
        lengths: tokens of each text, shortest first.
        most: texts a pass may have.
        device: a torch device type.
    """
    pass_cost = PASS_TOKENS.get(device, PASS_TOKENS_ELSEWHERE)
    cost = [0] * (len(lengths) + 1)  # of the best split of the first n texts
    begins = [0] * (len(lengths) + 1)  # where its last pass begins
    for end in range(1, len(lengths) + 1):
        longest = lengths[end - 1]
        cost[end], begins[end] = min(
            (cost[begin] + pass_cost + longest * (end - begin), begin) for begin in range(max(0, end - most), end)
        )
    groups: list[range] = []
    end = len(lengths)
    while end:
        groups.append(range(begins[end], end))
        end = begins[end]
    return groups[::-1]
