"""The state of an unfinished training run."""

from __future__ import annotations

from typing import Any

from torch import nn


class TrainedState(nn.Module):
    """A module whose state consists of its trainable weights only.

    This keeps the Trainer's checkpoints small. Unlike PEFT's adapter files they include P-tuning v1's prompt encoder,
    which is needed to resume training.
    """

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return only the trainable weights."""
        full = super().state_dict(*args, **kwargs)
        trained = self._trained()
        return {name: value for name, value in full.items() if name in trained}

    def load_state_dict(self, state_dict: Any, strict: bool = False, assign: bool = False) -> Any:
        """Load the result of `state_dict`; frozen weights stay and do not count as missing."""
        del strict
        result = super().load_state_dict(state_dict, strict=False, assign=assign)
        trained = self._trained()
        result.missing_keys[:] = [name for name in result.missing_keys if name in trained]
        return result

    def _trained(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}
