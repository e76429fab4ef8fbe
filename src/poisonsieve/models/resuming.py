"""The state of an unfinished training run."""

from __future__ import annotations

from typing import Any

from torch import nn


class TrainedState(nn.Module):
    """A module whose state is what is trained in it, without the frozen rest.

    So the Trainer's checkpoints are small; and unlike PEFT's own adapter files they keep P-tuning v1's prompt encoder,
    without which training could not be resumed.
    """

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Only the trainable weights."""
        full = super().state_dict(*args, **kwargs)
        trained = self._trained()
        return {name: value for name, value in full.items() if name in trained}

    def load_state_dict(self, state_dict: Any, strict: bool = False, assign: bool = False) -> Any:
        """Load what `state_dict` gave; the frozen weights stay, and do not count as missing."""
        del strict
        result = super().load_state_dict(state_dict, strict=False, assign=assign)
        trained = self._trained()
        result.missing_keys[:] = [name for name in result.missing_keys if name in trained]
        return result

    def _trained(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}
