"""What the service may be told: limits, times, keys, retention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poisonsieve.errors import ConfigError

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ServeSettings(BaseModel):
    """All settings of the service, checked when it is made; none changes afterwards.

    Attributes:
        max_body_bytes: a larger request body is refused with 413 while it is being read.
        max_held_bytes: bytes of the bodies of all requests that are not answered yet; beyond, 503.
        max_connections: connections that are open at one time; beyond, 503.
        max_text_chars: characters a text may have; a longer one is refused with 422.
        max_request_texts: texts a request may have; more are refused with 422.
        max_queue_texts: texts that wait or are being screened at one time; beyond, 503 with Retry-After.
        max_batch_texts: texts that are taken off the queue together.
        workers: threads that run the model, each with a batch of its own and its share of the cores. None: two on a
            processor, one on an accelerator.
        max_wait_ms: what a text waits for others to be scored with, in milliseconds, when the model is idle.
        request_timeout_s: seconds from the whole request to its answer; beyond, 504.
        body_timeout_s: seconds that a body may take to arrive; beyond, 408.
        keep_alive_s: seconds that an idle connection stays open. Longer than a load balancer keeps its own (60 is usual), or
            it may send a request on a connection that is just being closed.
        shutdown_timeout_s: seconds that answers to accepted requests may take once the service is to stop.
        stall_s: seconds a batch may take before ``/healthz`` says that the model hangs.
        explain_words: words that are left out one by one, at most.
        quarantine_max_records: records that are kept; the oldest go first. None: no limit.
        quarantine_max_days: days that a record is kept. None: no limit.
        quarantine_max_chars: characters that are kept of a text; its sha256 is always of all of it.
        hash_only: keep the sha256 of a rejected text, not the text.
        commit_timeout_s: seconds that a record may take to be committed; beyond, 503.
        retention_interval_s: seconds between two deletions of what is too old or too much.
        flush_interval_s: seconds after which counts are written when there is no record to write.
        recent_texts: confidences that the distribution and the drift are computed of.
        drift_min_texts: below this many recent confidences nothing is said of drift.
        drift_min_ks: the least distance that counts as drift, however many texts there are.
        compared_texts: latest texts that passed, of which hashes of words and phrases are kept in memory, to find what the
            rejected ones have in common.
        api_keys: keys that are accepted beside those of `api_key_file`.
        api_key_file: a file of keys, one a line; it is read again when it changes.
        allowed_hosts: without keys: the names by which a browser may call the service. None: any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: Count = 8 * 2**20
    max_held_bytes: Count = 256 * 2**20
    max_connections: Count = 1000
    max_text_chars: Count = 2_000_000
    max_request_texts: Count = 256
    max_queue_texts: Count = 1024
    max_batch_texts: Count = 64
    workers: Count | None = None
    max_wait_ms: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 5.0
    request_timeout_s: Seconds = 30.0
    body_timeout_s: Seconds = 15.0
    keep_alive_s: Count = 75
    shutdown_timeout_s: Count = 30
    stall_s: Seconds = 120.0
    explain_words: Count = 64
    quarantine_max_records: Count | None = 100_000
    quarantine_max_days: Seconds | None = None
    quarantine_max_chars: Count = 20_000
    hash_only: bool = False
    commit_timeout_s: Seconds = 5.0
    retention_interval_s: Seconds = 60.0
    flush_interval_s: Seconds = 2.0
    recent_texts: Count = 2000
    drift_min_texts: Count = 200
    drift_min_ks: Annotated[float, Field(ge=0, le=1)] = 0.1
    compared_texts: Count = 5000
    api_keys: tuple[str, ...] = Field(default=(), repr=False)
    api_key_file: Path | None = None
    allowed_hosts: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> ServeSettings:
        if self.max_request_texts > self.max_queue_texts:
            raise ValueError(
                "max_request_texts is above max_queue_texts, so the largest requests could never be taken"
            )
        if self.explain_words + 1 > self.max_queue_texts:
            raise ValueError("explain_words is not below max_queue_texts, so no text could be explained")
        if self.max_body_bytes > self.max_held_bytes:
            raise ValueError("max_body_bytes is above max_held_bytes, so the largest bodies could never be taken")
        return self

    @property
    def has_keys(self) -> bool:
        """Whether callers have to show a key."""
        return bool(self.api_keys) or self.api_key_file is not None


def make_settings(**values: Any) -> ServeSettings:
    """Settings from what a user gave.

    Raises:
        ConfigError: a value is out of range, or two contradict each other.
    """
    try:
        return ServeSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}: {first['msg']}" if name else first["msg"].removeprefix("Value error, ")) from None
