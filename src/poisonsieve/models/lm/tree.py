"""One forward pass over many token rows that begin alike: each beginning that rows share is computed once.

The rows are laid into a tree. A node is one token after one history, and everything in a decoder but attention works
on nodes. For attention, and there alone, every row gets its whole history back and looks at it causally. What comes
out is what the rows would give one by one: no padding and no other row can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from poisonsieve.errors import UnsupportedError

#: The name under which transformers finds `tree_attention`.
ATTENTION = "poisonsieve_tree"
_AREA = 32  # positions that attention spreads the rows over, at most, for each node there may be
_BLOCK = 12  # rows that attention takes at a time


@dataclass(frozen=True)
class Block:
    """Some rows, as attention takes them: queries of the places from `first` on, keys of all places.

    Attributes:
        rows: int64, (rows, width): the node at each place of each row; past a row's end, any node.
        first: before it, no row of the block has a node of its own.
        sees: bool, (width - first, width): which places a query sees.
    """

    rows: Tensor
    first: int
    sees: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the nodes are in the rows.

    Attributes:
        blocks: all rows that have nodes of their own.
        owner: int64, (nodes,): the node's place in the flattened queries of all blocks.
        width: tokens of the longest row.
    """

    blocks: list[Block]
    owner: Tensor
    width: int


class PrefixTree:
    """Token rows, their shared beginnings stored once.

    A row's last token is only ever predicted, never read, so it is no node.

    Attributes:
        tokens: the token of each node.
        positions: its place in its rows, from 0.
        names: what each row was called by the one who added it.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.names: list[tuple[int, int]] = []
        self._paths: list[list[int]] = []
        self._firsts: list[int] = []  # the first place where the row has a node of its own; from there on all are
        self._targets: list[list[int]] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.tokens)

    def area(self, ids: Sequence[int]) -> int:
        """Places that attention would have to spread the rows over, with this row among them."""
        return (len(self._paths) + 1) * max(len(ids) - 1, max(map(len, self._paths), default=0))

    def missing(self, ids: Sequence[int]) -> int:
        """How many nodes this row would add."""
        node = -1
        for place, token in enumerate(ids[:-1]):
            found = self._children.get((node, token))
            if found is None:
                return len(ids) - 1 - place
            node = found
        return 0

    def add(self, name: tuple[int, int], ids: Sequence[int]) -> None:
        """Add a row of two tokens or more."""
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
        """The nodes' places, for attention."""
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
        """What is predicted where, row after row: the nodes, the tokens they have to predict, and each row's number."""
        nodes = torch.tensor([node for path in self._paths for node in path], device=device)
        targets = torch.tensor([token for row in self._targets for token in row], device=device)
        return nodes, targets, [len(path) for path in self._paths]


def pack(groups: Iterable[Sequence[Sequence[int]]], budget: int) -> Iterator[PrefixTree]:
    """Trees of at most `budget` nodes that hold all rows of two tokens or more.

    A row is named by the number of its group and its number there. Rows are packed in the order they come in, so rows
    that begin alike should stand together. A row that is longer than the budget has a tree of its own.
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
    """Causal attention of the rows of a tree, for transformers' `AttentionInterface`.

    Args:
        module: not used.
        query: of the nodes, (1, heads, nodes, size).
        key: of the nodes, with as many heads or fewer, which are then grouped.
        value: as `key`.
        attention_mask: not used; the layout says what sees what.
        scaling: of the scores.
        dropout: not used; there is no training here.
        tree: the layout of the rows.
        others: what an architecture adds to the interface; refused where it changes the scores.

    Returns:
        (1, nodes, heads, size), and no weights.

    Raises:
        UnsupportedError: the architecture attends in a way that is not covered.
    """
    del module, attention_mask, dropout
    if tree is None:
        raise UnsupportedError("this architecture does not hand the layout of a forward pass to its attention")
    for name in ("softcap", "position_bias", "s_aux"):
        if others.get(name) is not None:
            raise UnsupportedError(f"attention with {name} is not covered; use a GPT-2 or LLaMA class model")
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
    """States of nodes, (1, heads, nodes, size), at the places of rows, (rows, heads, width, size)."""
    chosen = states[0].index_select(1, rows.reshape(-1))
    return chosen.view(states.shape[1], *rows.shape, -1).transpose(0, 1)
