"""How the pool of the protocol vqganodip is judged, with a made-up detector."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ad_core.data.formats.resizing import mask_to_network
from ad_core.data.layouts.folder import open_source
from ad_core.data.source import Record
from ad_core.decision.calibration import calibrate, cross_fit
from ad_core.decision.table import make_table, select, write_table
from ad_core.runtime.config import defaults
from ad_core.runtime.stop import Stop
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.detector import Detector
from ad_core.scoring.measuring import Measured
from ad_core.stages import evaluate
from ad_core.stages.evaluate import Truth, make_results, pixel_figures
from ad_core.stages.job import Job
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

    def __init__(self, thresholds):
        self.image_shape = (SIDE, SIDE, 1)
        self.measurer = None
        self.parts = SimpleNamespace(thresholds=thresholds, names=NAMES, selection=None)


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
        found = indices[~broken]
        samples = [source.read(i) for i in found]
        maps = np.stack([sample.mask for sample in samples]).astype(np.float32)
        each(found, Measured(values[~broken], maps, maps[..., None]), samples)
        return table

    monkeypatch.setattr(evaluate, "measure_split", measure_split)
    known = calibrate(table, config.decision, split="pool", seed=0)
    detector = Calibrated(known.thresholds)
    return job, table, evaluate._judge(job, detector), detector


def test_a_pool_is_judged_out_of_fold_and_what_cannot_be_read_is_inspected(judged):
    job, table, found, _ = judged
    broken = ~table.readable
    assert broken.sum() == 2 and found.split == "pool"
    assert np.isnan(found.scores[broken]).all() and np.isnan(found.maps[broken]).all()
    fitted = cross_fit(select(table, ~broken), job.config.decision, seed=0)
    np.testing.assert_array_equal(found.scores[~broken], fitted.scores)
    for rule in job.config.decision.rules:
        assert found.flags[rule][broken].all()
        np.testing.assert_array_equal(found.flags[rule][~broken], fitted.flags[rule])
    assert not job.workdir.statistics("test").exists()


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


def test_maps_that_are_the_masks_have_perfect_pixel_figures(judged):
    job, _, found, _ = judged
    figures = pixel_figures(job, found)
    assert figures["images"] == NORMAL + ABNORMAL - len(BROKEN)
    assert figures["auroc"] == figures["ap"] == 1
    assert figures["aupro"] == pytest.approx(1)
    turned = found._replace(maps=-found.maps)
    assert pixel_figures(job, turned)["auroc"] == 0


def test_without_labelled_abnormal_pixels_there_are_no_pixel_figures(judged):
    job, _, found, detector = judged
    truths = {
        index: truth._replace(bits=None) if job.source.records[index].label else truth
        for index, truth in found.truths.items()
    }
    assert pixel_figures(job, found._replace(truths=truths)) is None
    counts = make_results(job, detector, found._replace(truths=truths))["counts"]
    assert counts["unreadable_masks"] == ABNORMAL - 1  # one of BROKEN is abnormal
    assert make_results(job, detector, found)["counts"]["unreadable_masks"] == 0


def test_pixel_figures_are_taken_in_the_files_pixels(judged, tmp_path):
    """Maps that are the masks at 8 px; of files of other sizes what was lost by that counts."""
    folder = tmp_path / "set"
    shapes = [(40, 64), (64, 24)]
    for name in ("train/good", "test/hole", "ground_truth/hole"):
        (folder / name).mkdir(parents=True)
    for number, shape in enumerate(shapes):
        mask = np.zeros(shape, np.uint8)
        mask[16:20, 8:16] = 255
        for name in (f"train/good/{number}", f"test/hole/{number}"):
            Image.fromarray(np.full(shape, 90, np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"ground_truth/hole/{number}_mask.png")
    for resize in ("stretch", "letterbox", "centre_crop"):
        data = defaults("cpu").data
        data.update({"root": str(folder), "image_size": 8, "resize": resize})
        source = open_source(data)
        indices = np.array([i for i, r in enumerate(source.records) if r.label])
        samples = [source.read(int(index)) for index in indices]
        maps = np.stack([mask_to_network(s.mask, s.placement) for s in samples]).astype(np.float32)
        job, table, found, _ = judged
        part = select(table, np.arange(len(table.path)) < 2)._replace(error=("", ""))
        figures = pixel_figures(
            job._replace(source=source, splits={"pool": indices}),
            found._replace(
                table=part,
                maps=maps,
                truths=dict(zip(indices.tolist(), map(Truth.of, samples), strict=True)),
            ),
        )
        assert figures["images"] == 2 and figures["stride"] == 1
        assert 0.5 < figures["auroc"] < 1 and 0 < figures["ap"] < 1
        masks = [sample.mask for sample in samples]
        assert [mask.shape for mask in masks] == shapes
        assert [int(mask.sum()) for mask in masks] == [32, 32]
