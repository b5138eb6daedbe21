"""Counts and latencies of the service, as Prometheus reads them."""

import threading
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

RECENT = 10_000  # latencies from which the quantiles are told
QUANTILES = (0.5, 0.99)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts since the start, and the latencies of the newest answers; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._sum = 0.0

    def answered(self, decision: str, outcome: str, seconds: float) -> None:
        """Counts an answer.

        Args:
            decision: normal or inspect. outcome: scored, or what went wrong in a word. seconds:
                from the first byte of the request to the answer.
        """
        with self._lock:
            self._answers[decision, outcome] += 1
            self._recent.append(seconds)
            self._sum += seconds

    def quantiles(self, shares: Sequence[float] = QUANTILES) -> list[float]:
        """Latencies in seconds that shares in [0, 1] of the newest answers do not exceed.

        NaN before the first answer.
        """
        with self._lock:
            recent = np.array(self._recent)
        if not len(recent):
            return [float("nan")] * len(shares)
        return [float(x) for x in np.quantile(recent, shares, method="inverted_cdf")]

    @property
    def count(self) -> int:
        """Number of answers."""
        with self._lock:
            return self._answers.total()

    def to_text(self, gauges: dict[str, tuple[str, float | int]]) -> str:
        """All of it in Prometheus' text format.

        Args:
            gauges: name -> (what it is, its value now).
        """
        with self._lock:
            answers, total = sorted(self._answers.items()), self._sum
        lines = [*_head("zfn_answers_total", "Answers by decision and outcome.", "counter")]
        for (decision, outcome), count in answers:
            lines.append(f'zfn_answers_total{{decision="{decision}",outcome="{outcome}"}} {count}')
        lines += _head("zfn_latency_seconds", "Time from request to answer.", "summary")
        for share, value in zip(QUANTILES, self.quantiles(), strict=True):
            lines.append(f'zfn_latency_seconds{{quantile="{share}"}} {_number(value)}')
        lines.append(f"zfn_latency_seconds_sum {_number(total)}")
        lines.append(f"zfn_latency_seconds_count {sum(count for _, count in answers)}")
        for name, (text, value) in gauges.items():
            lines += [*_head(name, text, "gauge"), f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"

    def in_words(self) -> str:
        """Number of answers and their latencies, for a person."""
        half, most = self.quantiles()
        if not self.count:
            return "no image came"
        told = f"p50 {1000 * half:.0f} ms, p99 {1000 * most:.0f} ms"
        return f"{self.count} answers, {told} from request to answer"


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _number(value: float | int) -> str:
    return "NaN" if value != value else repr(float(value))
