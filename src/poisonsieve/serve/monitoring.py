"""Metrics for Prometheus at ``/metrics``; docs/guide/operations.md explains each name."""

from __future__ import annotations

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


class Monitoring:
    """The service's metrics, in a registry of their own."""

    def __init__(self, facts: GuardFacts) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("poisonsieve_requests", "Requests answered", ["route", "code"], registry=registry)
        self.seconds = Histogram(
            "poisonsieve_request_seconds",
            "Seconds to answer a request",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.texts = Counter(
            "poisonsieve_texts", "Texts by outcome, and what stopped them", ["outcome", "cause"], registry=registry
        )
        self.verdicts = Counter(
            "poisonsieve_verdicts", "Deprecated: poisonsieve_texts_total", ["verdict"], registry=registry
        )
        self.errors = Counter(
            "poisonsieve_unscorable", "Deprecated: poisonsieve_texts_total", ["kind"], registry=registry
        )
        self.confidence = Histogram(
            "poisonsieve_confidence",
            "The guard's confidences",
            buckets=[*facts.histogram.edges[1:], float("inf")],
            registry=registry,
        )
        self.batch_texts = Histogram(
            "poisonsieve_batch_texts",
            "Texts scored together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "poisonsieve_batch_seconds", "Seconds to score a batch", buckets=_SECONDS, registry=registry
        )
        self.shed = Counter("poisonsieve_shed", "Requests refused, by what was full", ["full"], registry=registry)
        self.commits = Counter(
            "poisonsieve_quarantine_commits", "Transactions with records, by outcome", ["outcome"], registry=registry
        )
        self.records = Counter("poisonsieve_quarantine_records", "Records committed", registry=registry)
        self.commit_seconds = Histogram(
            "poisonsieve_quarantine_commit_seconds", "Seconds to commit records", buckets=_SECONDS, registry=registry
        )
        self.deleted = Counter("poisonsieve_quarantine_deleted", "Records deleted by retention", registry=registry)
        self.quarantine_up = Gauge(
            "poisonsieve_quarantine_up", "1 if the last transaction succeeded", registry=registry
        )
        self.ready = Gauge("poisonsieve_ready", "1 after a warm-up inference has succeeded", registry=registry)
        self.checks = Counter(
            "poisonsieve_watch_checks", "Comparisons of the latest texts, by finding", ["finding"], registry=registry
        )
        self.check_seconds = Histogram(
            "poisonsieve_watch_check_seconds", "Seconds to compare them", buckets=_SECONDS, registry=registry
        )
        self.alarms = Counter("poisonsieve_watch_alarms", "Alarms raised by the watch", registry=registry)
        self.flagged = Counter(
            "poisonsieve_watch_flagged", "Texts that had passed and were flagged later", registry=registry
        )
        Gauge("poisonsieve_gamma", "The threshold", registry=registry).set(facts.gamma)
        Gauge("poisonsieve_guard_info", "Which guard", ["defense", "guard_digest"], registry=registry).labels(
            facts.defense, facts.guard_digest
        ).set(1)
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
