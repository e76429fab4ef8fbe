"""A causal language model that scores how likely token rows are, fast for rows with common prefixes.

On a CPU nearly all time goes into matrix products. So a prefix that rows share is computed once
(`poisonsieve.models.lm.tree`), a row's last token is never read, and the logits over the vocabulary are computed in
blocks that fit the cache and are discarded at once, so that no full distribution is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from poisonsieve.errors import CheckpointError, ConfigError, UnsupportedError
from poisonsieve.models.lm.tree import ATTENTION, PrefixTree, pack, tree_attention
from poisonsieve.models.load import pick_device
from poisonsieve.models.opening import first_line, how_to_open, open_tokenizer, opening, quiet_transformers
from poisonsieve.models.safety import is_adapter, weights_digest
from poisonsieve.models.sources import resolve
from poisonsieve.models.tokens import position_limit

_VOCABULARY_BLOCK = 1024
_GATHERED = 4096  # number of target rows of the output weights copied at a time
_AGREE = 1e-4  # tolerance for the probe's mean negative log-likelihoods; fp32 differs by a tenth of that


class CausalLM:
    """A causal language model with its tokenizer; see `load_causal_lm`.

    Attributes:
        source: where it came from, as the user wrote it.
        bos: the token that begins every row, as a list; empty if the tokenizer has none.
        limit: maximum number of tokens of a row, including `bos`.
    """

    def __init__(self, network: Any, tokenizer: Any, *, source: str = "", folder: Path | None = None) -> None:
        self.source = source
        self.bos: list[int] = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        self.limit = position_limit(network, tokenizer)
        self._network = network
        self._tokenizer = tokenizer
        self._folder = folder
        self._share_beginnings()

    @cached_property
    def digest(self) -> str:
        """The sha256 of the weights; empty if they were not read from files."""
        return weights_digest(self._folder) if self._folder is not None else ""

    def to_bf16(self) -> None:
        """Round the weights to bf16, irreversibly."""
        self._network.to(torch.bfloat16)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize each text, with `bos` first if there is one, no other special tokens and no truncation."""
        if not texts:
            return []
        found = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [[*self.bos, *ids] for ids in found]

    def mean_nll(self, groups: Iterable[Sequence[Sequence[int]]], *, batch_tokens: int = 512) -> list[np.ndarray]:
        """Return every row's mean negative log-likelihood over all tokens but the first, which has no context.

        This is the loss that transformers gives for a single row with ``labels=input_ids``. In fp32 the two differ by
        about 1e-5, due to the order of sums; so do two calls with different other rows.

        Args:
            groups: rows of token ids, each at most `limit` long. Rows of a group should share a prefix, and groups of
                similar length should follow each other: that saves time but does not change results.
            batch_tokens: maximum number of tree nodes per forward pass.

        Returns:
            For each group a float64 array with one number per row, in nats; NaN for a row of fewer than two tokens.

        Raises:
            ConfigError: `batch_tokens` is below 1.
            CheckpointError: the model gives numbers that are not finite.
        """
        if batch_tokens < 1:
            raise ConfigError(f"batch_tokens is {batch_tokens}; it must be 1 or more")
        results: list[np.ndarray] = []

        def noted() -> Iterable[Sequence[Sequence[int]]]:
            for group in groups:
                results.append(np.full(len(group), np.nan))
                yield group

        for tree in pack(noted(), batch_tokens):
            found = self._tree_nll(tree)
            if not np.isfinite(found).all():
                raise CheckpointError(
                    f"{self.source} gives likelihoods that are not finite numbers; are weights damaged?"
                )
            for (group, row), value in zip(tree.names, found, strict=True):
                results[group][row] = value
        return results

    @torch.inference_mode()
    def _tree_nll(self, tree: PrefixTree) -> np.ndarray:
        """Return one number per row of the tree."""
        states = self._states(tree)
        nodes, targets, lengths = tree.predictions(states.device)
        surprise = self._normalizers(states)[nodes].double() - self._logits_of(states, nodes, targets).double()
        found: np.ndarray = torch.stack([row.mean() for row in torch.split(surprise, lengths)]).cpu().numpy()
        return found

    def _states(self, tree: PrefixTree) -> Tensor:
        """Return the final hidden states, (nodes, hidden)."""
        device = self._network.device
        output = self._network.base_model(
            input_ids=torch.tensor([tree.tokens], device=device),
            position_ids=torch.tensor([tree.positions], device=device),
            use_cache=False,
            tree=tree.layout(device),
        )
        states: Tensor = output.last_hidden_state[0]
        return states

    def _normalizers(self, states: Tensor) -> Tensor:
        """Return the log of the sum over the vocabulary of exp(logit), (nodes,)."""
        weight, bias = self._output()
        logits = states.new_empty(len(states), _VOCABULARY_BLOCK)
        parts = []
        for start in range(0, len(weight), _VOCABULARY_BLOCK):
            block = weight[start : start + _VOCABULARY_BLOCK]
            room = logits[:, : len(block)]
            torch.mm(states, block.t(), out=room)
            if bias is not None:
                room += bias[start : start + _VOCABULARY_BLOCK]
            room = room.float()  # no copy if it is fp32 already
            top = room.amax(1, keepdim=True)
            parts.append(room.sub_(top).exp_().sum(1).log_() + top[:, 0])
        return torch.stack(parts).logsumexp(0)

    def _logits_of(self, states: Tensor, nodes: Tensor, targets: Tensor) -> Tensor:
        """Return the logit of one target token at each given node, (predictions,)."""
        weight, bias = self._output()
        pairs = zip(torch.split(nodes, _GATHERED), torch.split(targets, _GATHERED), strict=True)
        found = torch.cat([(states[node].float() * weight[target].float()).sum(1) for node, target in pairs])
        return found if bias is None else found + bias[targets]

    def _output(self) -> tuple[Tensor, Tensor | None]:
        layer = self._network.get_output_embeddings()
        return layer.weight, layer.bias

    def _share_beginnings(self) -> None:
        """Install tree attention, and check that the architecture still gives the same results.

        Raises:
            UnsupportedError: the results differ, or the attention cannot be replaced.
        """
        from transformers import AttentionInterface

        rope = getattr(self._network.config, "rope_parameters", None) or {}
        if "longrope" in str(rope) or "dynamic" in str(rope):  # takes effect only on texts longer than the probe
            raise UnsupportedError(
                f"{self.source} scales its positions by the longest text of a pass; use a model without such scaling"
            )
        probe = self._probe()
        expected = np.array([self._alone(row) for row in probe])
        AttentionInterface.register(ATTENTION, tree_attention)
        problem = f"{self.source} ({self._network.config.model_type}) cannot score rows that share a prefix"
        try:
            with quiet_transformers():
                self._network.set_attn_implementation(ATTENTION)
                if self._network.config._attn_implementation != ATTENTION:  # transformers only warns
                    raise UnsupportedError("its attention cannot be replaced")
                found = self.mean_nll([probe])[0]
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, UnsupportedError) as error:
            raise UnsupportedError(f"{problem}: {first_line(error)}; use a GPT-2 or LLaMA class model") from error
        if not np.allclose(found, expected, atol=_AGREE, rtol=_AGREE):
            raise UnsupportedError(
                f"{problem}: results differ from those of single rows; use a GPT-2 or LLaMA class model"
            )

    def _probe(self) -> list[list[int]]:
        """Return rows like those of a text and two shortened versions."""
        size = self._network.get_input_embeddings().weight.shape[0]
        row = [index * (size - 1) // 9 for index in range(10)][: self.limit]
        return [row, row[:3] + row[4:], row[:6] + row[8:]]

    @torch.inference_mode()
    def _alone(self, row: list[int]) -> float:
        """Compute the loss of one row by the architecture's own forward pass."""
        ids = torch.tensor([row], device=self._network.device)
        return float(self._network(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss)


def load_causal_lm(
    source: str | Path, *, precision: Literal["fp32", "bf16"] = "fp32", allow_pickle: bool = False
) -> CausalLM:
    """Open a causal language model: packaged alias (`smollm2`), folder or hub id (`gpt2`).

    Args:
        source: the model, of GPT-2 or LLaMA class or another architecture with plain causal attention.
        precision: precision of weights and states. ``bf16`` is about twice as fast on machines with bf16 arithmetic, and
            changes a mean negative log-likelihood by about 0.01; sums and logarithms are in fp32 either way.
        allow_pickle: open pickled weights after a scan; pickles can run code when loaded.

    Raises:
        CheckpointError: there is no such model, it is not a language model, or weights are missing or damaged.
        UnsafeWeightsError, HubError: see `poisonsieve.models.sources.resolve`.
        UnsupportedError: the model is an adapter, or its architecture is not supported.
    """
    folder = resolve(source, allow_pickle=allow_pickle)
    if is_adapter(folder):
        raise UnsupportedError(f"{source} is an adapter; give a whole causal language model")
    tokenizer = open_tokenizer(folder)
    opened = CausalLM(_open_network(folder, allow_pickle), tokenizer, source=str(source), folder=folder)
    if precision == "bf16":  # only now, because the check of the architecture needs fp32
        opened.to_bf16()
    return opened


def _open_network(folder: Path, allow_pickle: bool) -> Any:
    from transformers import AutoModelForCausalLM

    with opening(folder, "a causal language model"), torch.random.fork_rng(devices=[]):
        network, info = AutoModelForCausalLM.from_pretrained(folder, **how_to_open(folder, allow_pickle))
    lost = sorted(set(info["missing_keys"]) | {entry[0] for entry in info["mismatched_keys"]})
    if lost:
        raise CheckpointError(
            f"{folder} is not a complete causal language model: it lacks {len(lost)} weights (first: {lost[0]}); "
            "use smollm2 or gpt2, for example"
        )
    return network.to(pick_device()).eval()
