from tests.ad_core.console.conftest import png


def test_an_image_is_answered_when_its_event_is_on_the_disk(line, store):
    answer = line.score(png(20), "one.png", "http", user="camera")
    received, scored = store.events(("received", "scored"))
    assert (answer.decision, answer.status) == ("normal", 200)
    assert scored == answer.event and scored.about == received.seq
    assert scored.score == answer.verdict.score and scored.threshold == 0.5
    assert store.image(answer.sha).name == "one.png"
    assert store.archive.picture(answer.sha).read_bytes() == png(20)
