import io
import threading
import time

from ad_core.runtime.progress import Progress, duration, quiet


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def play(stream, *, done=0, **options):
    clock = Clock()
    progress = Progress(100, label="train", stream=stream, clock=clock, done=done, **options)
    for _ in range(4):
        clock.now += 4
        progress.update(20, "loss 0.5")
    return progress


def test_rate_and_time_left_are_those_of_the_clock():
    stream = io.StringIO()
    progress = play(stream, every_s=10.0)
    assert progress.rate() == 5.0
    assert stream.getvalue() == "train: 60/100 images, 5.0 images/s, 8 s left, loss 0.5\n"
    progress.close()
    assert stream.getvalue().splitlines()[-1] == "train: 80/100 images, 5.0 images/s, 4 s left"


def test_what_was_done_before_is_no_part_of_the_rate():
    assert play(io.StringIO(), done=10).rate() == 5.0


def test_what_is_done_at_once_has_no_rate():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(4, label="compare", stream=stream, clock=clock)
    for _ in range(4):
        clock.now += 1e-6
        progress.update(1)
    progress.close()
    assert progress.rate() == 0.0 and stream.getvalue() == "compare: 4/4 images\n"


def test_the_rate_is_that_of_late():
    clock = Clock()
    progress = Progress(10_000, label="x", stream=io.StringIO(), clock=clock)
    clock.now += 100  # compiling
    for _ in range(50):
        clock.now += 1
        progress.update(7)
    assert progress.rate() == 7.0


def test_compiling_before_the_first_update_is_told_and_no_part_of_the_time_left():
    for stream in (io.StringIO(), Terminal()):
        clock = Clock()
        options = {"label": "train", "stream": stream, "clock": clock, "first": "compiling"}
        progress = Progress(1000, every_s=0.0, **options)
        assert "compiling" in stream.getvalue()
        clock.now += 600
        progress.update(10)
        assert progress.rate() == 0.0 and " left" not in stream.getvalue()
        clock.now += 1
        progress.update(10)
        progress.close()
        last = stream.getvalue().replace("\r", "\n").splitlines()[-1]
        assert "10.0 images/s, 1 min 38 s left" in last and "compiling" not in last


def test_a_terminal_has_a_bar_on_one_line():
    stream, threads = Terminal(), threading.active_count()
    progress = play(stream, done=10)
    assert threading.active_count() == threads
    progress.close()
    shown = stream.getvalue().split("\r")
    assert shown[1].startswith("train:  10%|") and "| 10/100 [" in shown[1]
    assert shown[-1].startswith("train:  90%|") and "| 90/100 [" in shown[-1]
    assert shown[-1].endswith("\n") and "\n" not in "".join(shown[:-1])
    assert " images/s" in shown[-1]


def test_a_bar_shows_the_text_and_covers_a_longer_one_before():
    stream = Terminal()
    progress = Progress(100, label="train", stream=stream)
    for text in ("loss 0.123456789", "loss 1"):
        time.sleep(0.25)  # it is drawn five times a second at most
        progress.update(1, text)
    progress.close("stopped")
    long, short, last = stream.getvalue().split("\r")[-3:]
    assert "loss 0.123456789]" in long and "loss 1]" in short and "stopped]" in last
    assert len(short) >= len(long)


def test_durations_read_well():
    assert [duration(s) for s in (0.4, 59.4, 185.0, 7800.0)] == [
        "0 s",
        "59 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


def test_nothing_is_shown_inside_of_quiet_but_on_a_stream_that_is_named(capsys):
    stream = io.StringIO()
    with quiet():
        Progress(100, label="train", first="compiling").close()
        Progress(100, label="told", stream=stream).close()
    assert capsys.readouterr() == ("", "") and "told: 0/100" in stream.getvalue()
    Progress(100, label="train").close()
    assert "train: 0/100" in capsys.readouterr().err
