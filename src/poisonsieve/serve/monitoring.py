"""Metrics for Prometheus at ``/metrics``; docs/guide/operations.md explains each name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from poisonsieve.guard.traffic import FINDINGS, Finding
from poisonsieve.serve.facts import GuardFacts
from poisonsieve.serve.traffic import OLD_NAMES, Traffic
from poisonsieve.verdict import CAUSES, Cause, Verdict, outcome_of

if TYPE_CHECKING:
    from poisonsieve.serve.watch import TrafficWatch

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Monitoring:
    """The service's metrics, in a registry of their own."""

    def __init__(self, facts: GuardFacts) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = functools.partial(Counter, registry=self.registry)
        gauge = functools.partial(Gauge, registry=self.registry)
        histogram = functools.partial(Histogram, registry=self.registry)

        self.requests = counter("poisonsieve_requests", "Requests answered", ["route", "code"])
        self.seconds = histogram(
            "poisonsieve_request_seconds", "Seconds to answer a request", ["route"], buckets=_SECONDS
        )
        self.texts = counter("poisonsieve_texts", "Texts by outcome, and what stopped them", ["outcome", "cause"])
        self.verdicts = counter("poisonsieve_verdicts", "Deprecated: poisonsieve_texts_total", ["verdict"])
        self.errors = counter("poisonsieve_unscorable", "Deprecated: poisonsieve_texts_total", ["kind"])
        edges = [*facts.histogram.edges[1:], float("inf")]
        self.confidence = histogram("poisonsieve_confidence", "The guard's confidences", buckets=edges)
        self.batch_texts = histogram("poisonsieve_batch_texts", "Texts scored together", buckets=_TEXTS)
        self.batch_seconds = histogram("poisonsieve_batch_seconds", "Seconds to score a batch", buckets=_SECONDS)
        self.shed = counter("poisonsieve_shed", "Requests refused, by what was full", ["full"])
        self.commits = counter("poisonsieve_quarantine_commits", "Transactions with records, by outcome", ["outcome"])
        self.records = counter("poisonsieve_quarantine_records", "Records committed")
        self.commit_seconds = histogram(
            "poisonsieve_quarantine_commit_seconds", "Seconds to commit records", buckets=_SECONDS
        )
        self.deleted = counter("poisonsieve_quarantine_deleted", "Records deleted by retention")
        self.quarantine_up = gauge("poisonsieve_quarantine_up", "1 if the last transaction succeeded")
        self.ready = gauge("poisonsieve_ready", "1 after a warm-up inference has succeeded")
        self.checks = counter("poisonsieve_watch_checks", "Comparisons of the latest texts, by finding", ["finding"])
        self.check_seconds = histogram("poisonsieve_watch_check_seconds", "Seconds to compare them", buckets=_SECONDS)
        self.alarms = counter("poisonsieve_watch_alarms", "Alarms raised by the watch")
        self.flagged = counter("poisonsieve_watch_flagged", "Texts that had passed and were flagged later")
        gauge("poisonsieve_gamma", "The threshold").set(facts.gamma)
        which = gauge("poisonsieve_guard_info", "Which guard", ["defense", "guard_digest"])
        which.labels(facts.defense, facts.guard_digest).set(1)
        for cause in (None, *CAUSES):
            self._count(cause, 0)  # so that counters at 0 are exported too
        for finding in FINDINGS:
            self.checks.labels(finding)

    def watch(self, queue_length: Callable[[], int], traffic: Traffic, watch: TrafficWatch) -> None:
        """Add metrics that are computed when they are read."""
        Gauge("poisonsieve_queue_texts", "Texts waiting or being scored", registry=self.registry).set_function(
            queue_length
        )
        for name, help_text, read in (
            ("ks", "Distance of recent confidences from the calibration rows'", lambda: traffic.drift().ks),
            ("bar", "Above this, poisonsieve_drift_ks means drift", lambda: traffic.drift().bar),
            ("psi", "Population stability index of recent confidences", lambda: traffic.drift().psi),
            ("texts", "Recent confidences that drift is computed from", lambda: traffic.drift().recent_texts),
        ):
            gauge = Gauge(f"poisonsieve_drift_{name}", help_text, registry=self.registry)
            gauge.set_function(_number(read))
        for name, help_text, read in (
            ("alarm", "1 while the alarm of the watch is raised", lambda: watch.alarm_since is not None),
            ("p_value", "Of the latest comparison", lambda: None if watch.last is None else watch.last.found.p_value),
            ("texts", "Distinct texts that would be compared now", lambda: watch.texts),
        ):
            gauge = Gauge(f"poisonsieve_watch_{name}", help_text, registry=self.registry)
            gauge.set_function(_number(read))

    def add(self, verdicts: list[Verdict]) -> None:
        """Count verdicts and their confidences."""
        for verdict in verdicts:
            self._count(verdict.cause)
            if verdict.confidence is not None:
                self.confidence.observe(verdict.confidence)

    def _count(self, cause: Cause | None, by: int = 1) -> None:
        outcome = outcome_of(cause)
        self.texts.labels(outcome, cause or "").inc(by)
        self.verdicts.labels(OLD_NAMES.get(outcome, outcome)).inc(by)
        if outcome == "not_scored":
            self.errors.labels(cause).inc(by)

    def checked(self, finding: Finding, seconds: float) -> None:
        """Count a comparison of the latest texts."""
        self.checks.labels(finding).inc()
        self.check_seconds.observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_texts.observe(texts)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in the exposition format."""
        return generate_latest(self.registry)


def _number(read: Callable[[], float | int | None]) -> Callable[[], float]:
    def value() -> float:
        found = read()
        return float("nan") if found is None else float(found)

    return value
