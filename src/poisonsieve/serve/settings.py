"""Settings of the service: limits, timeouts, keys, retention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poisonsieve.errors import ConfigError

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ServeSettings(BaseModel):
    """All settings of the service, validated and immutable.

    Attributes:
        max_body_bytes: maximum size of a request body; a larger one is refused with 413 while it is being read.
        max_held_bytes: maximum total size of the bodies of all unanswered requests; beyond it, 503.
        max_connections: maximum number of open connections; beyond it, 503.
        max_text_chars: maximum length of a text in characters; a longer one is refused with 422.
        max_request_texts: maximum number of texts in a request; more are refused with 422.
        max_queue_texts: maximum number of texts waiting or being screened; beyond it, 503 with Retry-After.
        max_batch_texts: maximum number of texts taken off the queue together.
        workers: number of threads that run the model, each with a batch and a share of the cores of its own. None:
            two on a CPU, one on an accelerator.
        max_wait_ms: milliseconds that a text waits for others to be scored with, if the model is idle.
        request_timeout_s: maximum seconds from the complete request to its answer; beyond them, 504.
        body_timeout_s: maximum seconds for a body to arrive; beyond them, 408.
        keep_alive_s: seconds that an idle connection stays open. Must be longer than a load balancer keeps its own
            (60 is usual), or it may send a request on a connection that is just being closed.
        shutdown_timeout_s: maximum seconds for answering accepted requests when the service stops.
        stall_s: maximum seconds for a batch before ``/healthz`` reports that the model hangs.
        explain_words: maximum number of words that are left out one by one.
        compared_texts: number of latest passed texts whose hashes of words and phrases are kept in memory, for
            finding what rejected texts have in common.
        quarantine_max_records: maximum number of records; the oldest are deleted first. None: no limit.
        quarantine_max_days: maximum age of a record in days. None: no limit.
        quarantine_max_chars: number of characters to keep of a text; its sha256 always covers all of it.
        hash_only: keep the sha256 of a rejected text instead of the text.
        commit_timeout_s: maximum seconds for a record to be committed; beyond them, 503.
        retention_interval_s: seconds between two deletions of old or excess records.
        flush_interval_s: seconds after which counts are written if there are no records to write.
        recent_texts: number of latest confidences for the distribution and for drift.
        drift_min_texts: minimum number of recent confidences for drift.
        drift_min_ks: minimum distance that counts as drift, for any number of texts.
        watch: compare the latest texts with the calibration rows at intervals, see `poisonsieve.serve.watch`.
        watch_texts: number of latest distinct texts that are compared; their hidden states are kept in memory.
        watch_min_texts: number of distinct texts that must have come since the last comparison, or before the first.
        watch_interval_s: minimum seconds between two comparisons, and before the first.
        watch_false_alarm_days: on text like the calibration rows, there is on average at most one false alarm in so many
            days, for each process.
        watch_keep_texts: keep these texts in memory too, so that those flagged later are stored with their text.
        api_keys: keys accepted in addition to those of `api_key_file`.
        api_key_file: a file of keys, one per line; read again when it changes.
        allowed_hosts: without keys: host names by which browsers may call the service. None: any.
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
    watch: bool = True
    # The bounds are those of `poisonsieve.guard.traffic`, which takes long to import.
    watch_texts: Annotated[int, Field(ge=50, le=20_000)] = 1000
    watch_min_texts: Annotated[int, Field(ge=50)] = 200
    watch_interval_s: Seconds = 600.0
    watch_false_alarm_days: Seconds = 30.0
    watch_keep_texts: bool = False
    api_keys: tuple[str, ...] = Field(default=(), repr=False)
    api_key_file: Path | None = None
    allowed_hosts: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> ServeSettings:
        if self.max_request_texts > self.max_queue_texts:
            raise ValueError(
                "max_request_texts is above max_queue_texts, so the largest requests would always be refused"
            )
        if self.explain_words + 1 > self.max_queue_texts:
            raise ValueError("explain_words is not below max_queue_texts, so no text could be explained")
        if self.max_body_bytes > self.max_held_bytes:
            raise ValueError("max_body_bytes is above max_held_bytes, so the largest bodies would always be refused")
        if self.watch_min_texts > self.watch_texts:
            raise ValueError("watch_min_texts is above watch_texts, so the traffic would never be compared")
        if self.hash_only and self.watch_keep_texts:
            raise ValueError("hash_only keeps no text, and watch_keep_texts would; leave one of them out")
        return self

    @property
    def has_keys(self) -> bool:
        """Whether callers must present a key."""
        return bool(self.api_keys) or self.api_key_file is not None


def make_settings(**values: Any) -> ServeSettings:
    """Make settings from a user's values.

    Raises:
        ConfigError: a value is out of range, or two contradict each other.
    """
    try:
        return ServeSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}: {first['msg']}" if name else first["msg"].removeprefix("Value error, ")) from None
