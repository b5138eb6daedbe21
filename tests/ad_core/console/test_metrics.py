import re

import numpy as np

from ad_core.console.metrics import RECENT, Metrics


def test_quantiles_are_those_that_as_many_answers_do_not_exceed():
    metrics, rng = Metrics(), np.random.default_rng(0)
    seconds = rng.exponential(0.05, 1000)
    for each in seconds:
        metrics.answered("normal", "scored", float(each))
    half, most = metrics.quantiles()
    ordered = np.sort(seconds)
    assert (half, most) == (ordered[499], ordered[989])


def test_only_the_newest_answers_count_in_quantiles_and_all_in_the_sum():
    metrics = Metrics()
    for _ in range(RECENT):
        metrics.answered("inspect", "timeout", 10.0)
    for _ in range(RECENT):
        metrics.answered("normal", "scored", 0.5)
    assert metrics.quantiles() == [0.5, 0.5] and metrics.count == 2 * RECENT


def test_the_text_is_that_of_prometheus():
    metrics = Metrics()
    metrics.answered("normal", "scored", 0.25)
    metrics.answered("inspect", "queue_full", 0.75)
    text = metrics.to_text({"zfn_under_way": ("Images under way.", 3)})
    line = re.compile(
        r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|summary|gauge))"
        r'|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? (NaN|[-+.e\d]+)'
    )
    assert text.endswith("\n") and all(map(line.fullmatch, text.splitlines()))
    lines = set(text.splitlines())
    assert 'zfn_answers_total{decision="inspect",outcome="queue_full"} 1' in lines
    assert {"zfn_latency_seconds_sum 1.0", "zfn_latency_seconds_count 2"} <= lines
    assert {'zfn_latency_seconds{quantile="0.99"} 0.75', "zfn_under_way 3.0"} <= lines


def test_before_the_first_answer_there_is_no_latency():
    assert 'quantile="0.5"} NaN' in Metrics().to_text({})
    assert Metrics().in_words() == "no image came"
