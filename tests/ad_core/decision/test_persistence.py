import copy
import pickle

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ad_core.decision import fit_classifier, load_classifier, make_classifier, save_classifier
from ad_core.errors import UserError


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 20])
    return rng.normal(size=(80, 5)) + labels[:, None], labels


class Stranger(FunctionTransformer):
    """A type that no detector of ours holds."""


def test_a_type_that_is_not_allowed_is_refused_by_name(tmp_path):
    stranger = make_pipeline(Stranger())
    with pytest.raises(UserError, match="Stranger"):
        save_classifier(stranger, tmp_path / "classifier.skops")
    assert not (tmp_path / "classifier.skops").exists()
    skops.io.dump(stranger, tmp_path / "classifier.skops")
    with pytest.raises(UserError, match=r"classifier\.skops holds types.*Stranger"):
        load_classifier(tmp_path / "classifier.skops")


def test_a_pickle_is_refused_and_not_run(case, tmp_path):
    path, mark = tmp_path / "classifier.skops", tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return mark.touch, ()

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="pickle is never loaded"):
        load_classifier(path)
    assert not mark.exists()


def test_a_truncated_or_missing_file_is_reported(case, tmp_path):
    path = tmp_path / "classifier.skops"
    with pytest.raises(UserError, match="no classifier at"):
        load_classifier(path)
    save_classifier(fit_classifier(make_classifier("one_class"), *case), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="not a classifier that skops wrote"):
        load_classifier(path)


def test_something_else_in_a_skops_file_is_refused(tmp_path):
    skops.io.dump({"weights": np.ones(3)}, tmp_path / "classifier.skops")
    with pytest.raises(UserError, match="holds dict"):
        load_classifier(tmp_path / "classifier.skops")


@pytest.fixture(scope="module")
def boosted(case):
    """Trees, and the same below stacking."""
    names = ("ada_boost", "stacking")
    return [fit_classifier(make_classifier(n, stacked=("ada_boost",)), *case) for n in names]


def test_a_pipeline_of_another_version_is_refused(case, tmp_path):
    fitted = fit_classifier(make_classifier("one_class"), *case)
    fitted.steps[-1] = ("ledoitwolf", fitted[-1])
    skops.io.dump(fitted, tmp_path / "classifier.skops")
    with pytest.raises(UserError, match="'ledoitwolf'.*no classifier of this version; calibrate"):
        load_classifier(tmp_path / "classifier.skops")


def test_a_tree_that_points_outside_itself_is_refused(boosted, tmp_path):
    fitted = copy.deepcopy(boosted[0])
    save_classifier(fitted, tmp_path / "classifier.skops")
    assert load_classifier(tmp_path / "classifier.skops").steps[-1][0] == "ada_boost"
    fitted[-1].estimators_[3].tree_.children_left[0] = 10_000
    save_classifier(fitted, tmp_path / "classifier.skops")
    with pytest.raises(UserError, match="damaged tree"):
        load_classifier(tmp_path / "classifier.skops")


def test_a_damaged_tree_below_stacking_is_refused_too(boosted, tmp_path):
    fitted = copy.deepcopy(boosted[1])
    fitted[-1].below_[0][-1].estimators_[3].tree_.feature[0] = 10_000
    save_classifier(fitted, tmp_path / "classifier.skops")
    with pytest.raises(UserError, match="damaged tree"):
        load_classifier(tmp_path / "classifier.skops")
