"""A classifier's pass for scoring, computed by OpenVINO instead of torch: the same numbers but for rounding, in fp32.

The network is opened by torch as ever, with all that is refused there, and converted in memory; OpenVINO reads no file of
a checkpoint. What a detector computes beside classifying stays with torch: embeddings, language models, rewriters.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from poisonsieve.errors import ConfigError, UnsupportedError
from poisonsieve.models.layout import alike, sample_rows
from poisonsieve.models.opening import quiet_transformers
from poisonsieve.models.results import Pooling, pool_layers

if TYPE_CHECKING:
    from poisonsieve.models.classifier import Classifier

#: What can compute a classifier's passes.
BACKENDS = ("torch", "openvino")
# A service meets ever new shapes, and OpenVINO would keep the kernels of 5,000.
_KERNELS_KEPT = 64


def check_backend(backend: str) -> str:
    """Check what is asked for before a model is opened.

    Raises:
        ConfigError: there is no such backend.
        UnsupportedError: OpenVINO is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend is {backend!r}; choose {' or '.join(BACKENDS)}")
    if backend == "openvino" and importlib.util.find_spec("openvino") is None:
        raise UnsupportedError("the backend openvino needs OpenVINO; install poisonsieve[openvino]")
    return backend


class OpenVINOPass:
    """The compiled forward pass of a classifier, for batches of any shape.

    It has weights of its own, beside torch's, and as many threads as torch has when it is made. Calls from several threads
    wait for one another.

    Args:
        classifier: the classifier; its weights must not change afterwards.

    Raises:
        UnsupportedError: the classifier is on a GPU, in 4 bits or in half precision; OpenVINO cannot convert or run it; or
            what it computes differs from what torch does by more than rounding.
    """

    def __init__(self, classifier: Classifier) -> None:
        check_backend("openvino")
        self.classifier = classifier
        self._require_plain()
        self._lock = Lock()
        self._compiled: dict[Pooling | None, Any] = {}
        self._usual = classifier.pooling if classifier.layout.states is not None else None
        self._by(self._usual)

    def logits(self, inputs: dict[str, Tensor]) -> np.ndarray:
        """Return logits, float64, shape (batch, K); for the inputs see `Classifier.pad`."""
        return self._run(self._usual, inputs)[0].astype(np.float64)

    def logits_and_states(
        self, inputs: dict[str, Tensor], layers: Sequence[int], pooling: Pooling
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return logits, and float32 states, shape (batch, layers, hidden); see `BatchScorer.logits_and_states`."""
        logits, states = self._run(pooling, inputs)
        return logits.astype(np.float64), states[:, list(layers)]

    def _run(self, pooling: Pooling | None, inputs: dict[str, Tensor]) -> list[np.ndarray]:
        with self._lock:
            found = self._by(pooling)([inputs[name].numpy() for name in ("input_ids", "attention_mask")])
            return [found[place] for place in range(len(found))]

    def _by(self, pooling: Pooling | None) -> Any:
        """Return the compiled pass whose states are pooled like this, made and tried when it is first needed."""
        if pooling not in self._compiled:
            plain = _Plain(self.classifier, pooling).eval()
            compiled = self._compile(plain)
            self._try(compiled, plain)
            self._compiled[pooling] = compiled
        return self._compiled[pooling]

    def _require_plain(self) -> None:
        classifier = self.classifier
        if classifier.device.type != "cpu":
            self._refuse(f"it is on {classifier.device}, and OpenVINO is for machines without a GPU")
        if classifier.is_loaded_in_4bit or classifier.base.dtype != torch.float32:
            self._refuse("its weights are not in fp32")

    def _compile(self, plain: nn.Module) -> Any:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        example = self.classifier.pad(sample_rows(self.classifier)[-2:])
        try:
            with quiet_transformers(), warnings.catch_warnings(), _convertible(self.classifier), torch.no_grad():
                warnings.simplefilter("ignore")  # tracing warns of sizes that might be fixed; `_try` finds out
                # By its parts, since `openvino.convert_model` reports its use to Intel.
                traced = TorchScriptPythonDecoder(plain, example_input=example)
                reader = FrontEndManager().load_by_framework("pytorch")
                return openvino.Core().compile_model(reader.convert(reader.load(traced)), "CPU", _settings())
        except Exception as error:  # libraries raise all kinds of errors on what they do not know
            self._refuse(f"OpenVINO cannot convert it ({type(error).__name__})", error)

    def _try(self, compiled: Any, plain: nn.Module) -> None:
        """Compare what OpenVINO computes with what torch does, for texts of every length, alone and together."""
        rows = sample_rows(self.classifier)
        limit = self.classifier.max_length
        longest = (rows[-1] * (1 + limit // len(rows[-1])))[:limit]
        batches = [[row] for row in (*rows, longest)]
        if self.classifier.layout.company == "any":
            batches += [rows, [rows[0], longest]]
        wanted: list[tuple[Tensor, ...]] = []
        found: list[list[Tensor]] = []
        for batch in batches:
            inputs = self.classifier.pad(batch)
            with torch.inference_mode():
                wanted.append(plain(**inputs))
            try:
                results = compiled([inputs[name].numpy() for name in ("input_ids", "attention_mask")])
            except Exception as error:
                self._refuse(f"OpenVINO fails to run it ({type(error).__name__})", error)
            found.append([torch.from_numpy(results[place]) for place in range(len(results))])
        # All texts at once: how far they lie apart is what a difference is small beside.
        for theirs, ours in zip(zip(*found, strict=True), zip(*wanted, strict=True), strict=True):
            if not alike(torch.cat(theirs).flatten(1), torch.cat(ours).flatten(1), of_spread=1e-4):
                self._refuse("OpenVINO computes other numbers than torch does")

    def _refuse(self, why: str, error: Exception | None = None) -> None:
        raise UnsupportedError(f"{self.classifier.named}: {why}; leave --backend openvino out") from error


class _Plain(nn.Module):
    """What is compiled: logits, and with a pooling the state of every layer, (batch, layers, hidden)."""

    def __init__(self, classifier: Classifier, pooling: Pooling | None) -> None:
        super().__init__()
        self.classifier = classifier
        self.pooling = pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        if self.pooling is None:
            return (self.classifier.run(attention_mask, input_ids=input_ids).logits,)
        layers = range(self.classifier.states_shape[0])
        output = self.classifier.run(attention_mask, input_ids=input_ids, layers=layers)
        width = attention_mask.shape[1]
        states = [output.hidden_states[1 + layer][:, -width:] for layer in layers]
        return output.logits, pool_layers(states, attention_mask, self.pooling)


@contextlib.contextmanager
def _convertible(classifier: Classifier) -> Iterator[None]:
    """Let a decoder neither cache keys and values, nor mask padding with infinities, of which OpenVINO makes NaN."""
    network = classifier.base
    if not classifier.is_decoder:
        yield
        return
    cached, attention = getattr(network.config, "use_cache", None), network.config._attn_implementation
    network.config.use_cache = False
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.config.use_cache = cached
        network.set_attn_implementation(attention)


def _settings() -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it, and verdicts would change
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # other processes use the cores too
        "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS_KEPT,
    }
