"""Grouping texts into forward passes."""

from __future__ import annotations

from collections.abc import Sequence

# The fixed cost of a pass, in tokens. Measured with MiniLM on a CPU: 35 to 50. An accelerator computes thousands of
# tokens in the time that a pass takes to set up.
PASS_TOKENS = {"cpu": 40}
PASS_TOKENS_ELSEWHERE = 4000


def groups_of_least_cost(lengths: Sequence[int], most: int, device: str = "cpu") -> list[range]:
    """Split texts, sorted by length, into the forward passes of lowest total cost.

    A pass has a fixed cost, and each of its texts costs as much as its longest: fewer passes mean more padding.

    Args:
        lengths: number of tokens of each text, shortest first.
        most: maximum number of texts per pass.
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
