"""What a model's config tells about its architecture, and the tunings that an architecture does not support."""

from __future__ import annotations

from pathlib import Path

from poisonsieve.storage import read_json_if_there

#: Tunings that an architecture does not support: PEFT's prefix tuning needs a cache of keys and values.
CANNOT: dict[str, frozenset[str]] = {
    "mpnet": frozenset({"p_tuning_v2"}),
    "modernbert": frozenset({"p_tuning_v2"}),
}
#: The architectures of packaged models, which need not have been fetched yet.
_PACKAGED = {"minilm": "bert", "mpnet": "mpnet", "smollm2": "llama"}


def model_type(model: str) -> str | None:
    """Return the architecture that a model's config names; None if its config is not on this machine."""
    if model in _PACKAGED:
        return _PACKAGED[model]
    config = Path(model) / "config.json"
    if not config.is_file():
        from huggingface_hub import try_to_load_from_cache

        if Path(model).exists() or model.count("/") > 1:
            return None
        cached = try_to_load_from_cache(model.removeprefix("hub:"), "config.json")
        if not isinstance(cached, str):
            return None
        config = Path(cached)
    found = read_json_if_there(config).get("model_type")
    return None if found is None else str(found)
