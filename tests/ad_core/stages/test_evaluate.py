"""How the pool of the protocol vqganodip is judged, with a made-up detector."""

from types import SimpleNamespace

import numpy as np
import pytest

from ad_core.data.batches import Reading
from ad_core.data.source import Record
from ad_core.decision.calibration import calibrate, cross_fit
from ad_core.decision.table import make_table, select, write_table
from ad_core.errors import UserError
from ad_core.runtime.stop import Stop
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.detector import Detector
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.measuring import Measured
from ad_core.stages import evaluate
from ad_core.stages.evaluate import make_results
from ad_core.stages.job import Job
from ad_core.types import Batch
from tests.samples import whole
from tests.small_config import small_config

NORMAL, ABNORMAL, SIDE = 24, 14, 4
BROKEN = (3, 30)  # cannot be read
NAMES = ("shift", "noise")


class Source:
    """Two scans a patient; the abnormal pixels of abnormal images are the left half."""

    def __init__(self):
        labels = np.repeat([0, 1], [NORMAL, ABNORMAL])
        self.records = tuple(
            Record(f"{i}.png", int(label), "good", f"patient {i // 2}", "", True)
            for i, label in enumerate(labels)
        )

    def read(self, index):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:, : SIDE // 2] = self.records[index].label
        return whole(np.zeros((SIDE, SIDE, 1), np.float32), mask)


class Calibrated(Detector):
    """No networks: only what judging reads of a detector."""

    def __init__(self, known, config):
        self.image_shape = (SIDE, SIDE, 1)
        self.measurer = None
        self.parts = SimpleNamespace(
            thresholds=known.thresholds,
            rule=known.rule,
            facts=known.facts,
            names=NAMES,
            selection=None,
            scale=MapScale(0.0, 1.0, 0.5),
            config=config,
            backbones={},
        )


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """(job, table, judged images, detector)."""
    source, indices = Source(), np.arange(NORMAL + ABNORMAL)[::-1]
    data = {"protocol": "vqganodip", "image_size": SIDE}
    decision = {"folds": 3, "classifier": "logistic_regression"}
    config = small_config(data=data, decision=decision)
    job = Job(config, source, {"train": indices[:0], "pool": indices}, Workdir(tmp_path), Stop())
    records = [source.records[i] for i in indices]
    labels = np.array([record.label for record in records])
    values = np.random.default_rng(0).normal(size=(len(indices), 2)).astype(np.float32)
    values[:, 0] += 2 * labels.astype(np.float32)
    broken = np.isin(indices, BROKEN)
    values[broken] = np.nan
    table = make_table(records, NAMES, values, ["damaged" if b else "" for b in broken])
    write_table(job.workdir.statistics("pool"), table)

    def measure_split(job, split, measurer, names, *, each):
        samples = tuple(None if b else source.read(i) for i, b in zip(indices, broken, strict=True))
        maps = np.zeros((len(indices), SIDE, SIDE), np.float32)
        labels = np.array([source.records[i].label for i in indices], np.int32)
        batch = Batch(maps[..., None], labels, ~broken, indices)
        each(Reading(batch, samples, {}), Measured(values, maps[:, None], maps[..., None]))
        return table

    monkeypatch.setattr(evaluate, "measure_split", measure_split)
    known = calibrate(table, config.decision, split="pool", seed=0)
    detector = Calibrated(known, config)
    return job, table, evaluate._judge_pool(job, detector), detector


def test_a_pool_is_judged_out_of_fold_and_what_cannot_be_read_is_inspected(judged):
    job, table, found, _ = judged
    broken = ~table.readable
    assert broken.sum() == 2 and found.split == "pool"
    assert np.isnan(found.scores[broken]).all()
    fitted = cross_fit(select(table, ~broken), job.config.decision, seed=0)
    np.testing.assert_array_equal(found.scores[~broken], fitted.scores)
    for rule in job.config.decision.rules:
        assert found.flags[rule][broken].all()
        np.testing.assert_array_equal(found.flags[rule][~broken], fitted.flags[rule])
    assert not job.workdir.statistics("test").exists()


def test_what_is_clipped_beyond_the_normals_is_inspected_by_every_rule(judged, monkeypatch):
    job, table, _, detector = judged
    good = table.readable
    known = calibrate(select(table, good), job.config.decision, split="calibration", seed=0)
    detector = Calibrated(known, job.config)
    vars(detector.parts).update(classifier=known.classifier, review="", clipped=0.25)
    indices = job.splits["pool"]
    job = job._replace(splits={"train": indices[:0], "test": indices})
    scores = detector.score_statistics(table.values)
    passing = np.flatnonzero((scores < detector.threshold.value) & good)
    shares = np.zeros(len(indices))
    shares[passing[0]], shares[passing[1]] = 0.3, 0.25  # beyond, and as normals are
    read = Source.read

    def clipped(source, index):
        row = int(np.flatnonzero(indices == index)[0])
        return read(source, index)._replace(clipped=float(shares[row]))

    monkeypatch.setattr(Source, "read", clipped)
    found = evaluate._judge_test(job, detector)
    for rule, threshold in known.thresholds.items():
        expected = threshold.flags(np.where(good, scores, np.nan))
        expected[passing[0]] = True
        np.testing.assert_array_equal(found.flags[rule], expected)
    figures = evaluate._held_out(job, detector, found)["zfn"]
    assert figures["tp"] + figures["fp"] == found.flags["zfn"].sum()
    offer = {"bound": 0.05, "threshold": known.thresholds["zfn"].value}
    detector.parts.facts = {"price": [offer]}
    (price,) = evaluate._price(detector, found)
    assert (price["test"]["fp"], price["test"]["fn"]) == (figures["fp"], figures["fn"])


def test_the_gallery_shows_what_the_folds_decided(judged):
    _, table, found, _ = judged
    inspected = found.flags["zfn"]
    kinds = (("hits", 1, True), ("false_alarms", 0, True), ("passed", 0, False))
    for kind, label, flagged in kinds:
        rows = np.flatnonzero((table.label == label) & (inspected == flagged))
        rows = rows[np.isfinite(found.scores[rows])]
        scores = np.sort(found.scores[rows])
        wanted = (scores if kind == "passed" else scores[::-1])[:6]
        assert [one.score for one in found.gallery.shown(kind)] == wanted.tolist()


def test_the_counts_of_a_pool_come_from_each_folds_own_threshold(judged):
    job, table, found, detector = judged
    results = make_results(job, detector, found)
    assert results["judged_on"] == "pool" and results["counts"]["unreadable"] == 2
    for rule, flagged in found.flags.items():
        figures = results["held_out"][rule]
        assert figures["fn"] == int((~flagged & (table.label == 1)).sum())
        assert figures["fp"] == int((flagged & (table.label == 0)).sum())
        assert figures["tp"] + figures["fn"] == ABNORMAL
        assert figures["fp"] + figures["tn"] == NORMAL
    assert 0.7 < results["oracle"]["auc"] < 1


class Photos(Source):
    """Shows its images too; the file of the second one is gone."""

    def view(self, index, longest):
        if index == 1:
            raise UserError("1.png: no such file.")
        return np.full((2, 3, 1), -1.0 if index else 1.0, np.float32)


def test_the_images_that_set_the_price_are_shown_where_they_can_be_read(tmp_path):
    results = {"lowest": [{"path": f"{i}.png"} for i in (0, 1, 2)]}
    drawn = {f"{i}.png": 128 for i in (0, 1, 2)}  # of a source without files, as it is read
    for source, shown in ((Photos(), {"0.png": 255, "2.png": 0}), (Source(), drawn)):
        job = Job(small_config(), source, {}, Workdir(tmp_path), Stop())
        pictures = evaluate._lowest_pictures(job, results)
        assert {path: int(one.max()) for path, one in pictures.items()} == shown
        size = (2, 3, 3) if isinstance(source, Photos) else (SIDE, SIDE, 3)
        assert all(one.shape == size for one in pictures.values())
