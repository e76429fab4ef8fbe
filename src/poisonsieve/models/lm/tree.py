"""One forward pass over many token rows with common prefixes, each of which is computed once.

The rows form a prefix tree. A node is one token after one history, and everything in a decoder except attention works
on nodes. Only for attention is every row expanded to its whole history, which it sees causally. The results are those
of the rows one by one: neither padding nor other rows are visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from poisonsieve.errors import UnsupportedError

#: The name under which `tree_attention` is registered with transformers.
ATTENTION = "poisonsieve_tree"
_AREA = 32  # maximum number of expanded positions in attention, per node of the budget
_BLOCK = 12  # number of rows that attention processes at a time


@dataclass(frozen=True)
class Block:
    """A block of rows for attention, with queries from position `first` on and keys for all positions.

    Attributes:
        rows: int64, (rows, width): the node at each position of each row; arbitrary past a row's end.
        first: the first position at which a row of the block has its own node.
        sees: bool, (width - first, width): the positions that each query sees.
    """

    rows: Tensor
    first: int
    sees: Tensor


@dataclass(frozen=True)
class Layout:
    """The positions of the nodes in the rows.

    Attributes:
        blocks: all rows with nodes of their own.
        owner: int64, (nodes,): the node's index in the flattened queries of all blocks.
        width: number of tokens of the longest row.
    """

    blocks: list[Block]
    owner: Tensor
    width: int


class PrefixTree:
    """Token rows whose common prefixes are stored once.

    A row's last token is only predicted, never read, so it is not a node.

    Attributes:
        tokens: the token of each node.
        positions: the position of each node in its rows, from 0.
        names: the name given to each row when it was added.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.names: list[tuple[int, int]] = []
        self._paths: list[list[int]] = []
        self._firsts: list[int] = []  # the position from which on a row has its own nodes
        self._targets: list[list[int]] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.tokens)

    def area(self, ids: Sequence[int]) -> int:
        """Return the number of expanded positions in attention if this row were added."""
        return (len(self._paths) + 1) * max(len(ids) - 1, max(map(len, self._paths), default=0))

    def missing(self, ids: Sequence[int]) -> int:
        """Return the number of nodes that this row would add."""
        node = -1
        for place, token in enumerate(ids[:-1]):
            found = self._children.get((node, token))
            if found is None:
                return len(ids) - 1 - place
            node = found
        return 0

    def add(self, name: tuple[int, int], ids: Sequence[int]) -> None:
        """Add a row of at least two tokens."""
        self._firsts.append(len(ids) - 1 - self.missing(ids))
        node, path = -1, []
        for place, token in enumerate(ids[:-1]):
            key = (node, token)
            if key not in self._children:
                self._children[key] = len(self.tokens)
                self.tokens.append(token)
                self.positions.append(place)
            node = self._children[key]
            path.append(node)
        self.names.append(name)
        self._paths.append(path)
        self._targets.append(list(ids[1:]))

    def layout(self, device: torch.device) -> Layout:
        """Return the positions of the nodes, for attention."""
        blocks, owner, before = [], [0] * len(self), 0
        for start in range(0, len(self._paths), _BLOCK):
            paths, firsts = self._paths[start : start + _BLOCK], self._firsts[start : start + _BLOCK]
            width, first = max(map(len, paths)), min(firsts)
            for index, (path, own) in enumerate(zip(paths, firsts, strict=True)):
                for place in range(own, len(path)):
                    owner[path[place]] = before + index * (width - first) + place - first
            if first < width:
                rows = torch.tensor([path + [0] * (width - len(path)) for path in paths], device=device)
                sees = torch.ones(width, width, dtype=torch.bool, device=device).tril()[first:]
                blocks.append(Block(rows, first, sees))
                before += len(paths) * (width - first)
        return Layout(blocks, torch.tensor(owner, device=device), max(map(len, self._paths)))

    def predictions(self, device: torch.device) -> tuple[Tensor, Tensor, list[int]]:
        """Return, row after row, the nodes and the tokens they predict, and the number of predictions of each row."""
        nodes = torch.tensor([node for path in self._paths for node in path], device=device)
        targets = torch.tensor([token for row in self._targets for token in row], device=device)
        return nodes, targets, [len(path) for path in self._paths]


def pack(groups: Iterable[Sequence[Sequence[int]]], budget: int) -> Iterator[PrefixTree]:
    """Pack all rows of at least two tokens into trees of at most `budget` nodes.

    A row is named by the index of its group and its index in the group. Rows are packed in the order given, so rows with
    a common prefix should be adjacent. A row longer than the budget gets a tree of its own.
    """
    tree = PrefixTree()
    for number, group in enumerate(groups):
        for index, ids in enumerate(group):
            if len(ids) < 2:
                continue
            if tree.names and (len(tree) + tree.missing(ids) > budget or tree.area(ids) > _AREA * budget):
                yield tree
                tree = PrefixTree()
            tree.add((number, index), ids)
    if tree.names:
        yield tree


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Layout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention over the rows of a tree, for transformers' `AttentionInterface`.

    Args:
        module: unused.
        query: queries of the nodes, (1, heads, nodes, size).
        key: keys of the nodes, with as many heads or fewer (grouped-query attention).
        value: values, with the shape of `key`.
        attention_mask: unused; the layout determines what each node sees.
        scaling: factor applied to the scores.
        dropout: unused, since there is no training here.
        tree: the layout of the rows.
        others: further arguments of an architecture; refused if they change the scores.

    Returns:
        The output, (1, nodes, heads, size), and None for the attention weights.

    Raises:
        UnsupportedError: the architecture's attention is not supported.
    """
    del module, attention_mask, dropout
    if tree is None:
        raise UnsupportedError("this architecture does not pass extra arguments on to its attention")
    for name in ("softcap", "position_bias", "s_aux"):
        if others.get(name) is not None:
            raise UnsupportedError(f"attention with {name} is not supported; use a GPT-2 or LLaMA class model")
    window = others.get("sliding_window")
    if window and tree.width > window:
        raise UnsupportedError(
            f"a text of {tree.width} tokens is longer than the model's sliding window; lower max_length to {window}"
        )
    found = []
    for block in tree.blocks:
        answers = scaled_dot_product_attention(
            _spread(query, block.rows[:, block.first :]),
            _spread(key, block.rows),
            _spread(value, block.rows),
            attn_mask=block.sees,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        found.append(answers.transpose(1, 2).flatten(0, 1))
    return torch.cat(found).index_select(0, tree.owner)[None], None


def _spread(states: Tensor, rows: Tensor) -> Tensor:
    """Expand states of nodes, (1, heads, nodes, size), to the positions of rows, (rows, heads, width, size)."""
    chosen = states[0].index_select(1, rows.reshape(-1))
    return chosen.view(states.shape[1], *rows.shape, -1).transpose(0, 1)
