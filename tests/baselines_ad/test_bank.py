"""The bank of activations that a fine-tuning draws from."""

import numpy as np

from baselines_ad.bank import Bank, Drawn, fewest, fill_bank, make_versions
from baselines_ad.frozen import Frozen, make_look
from tests.baselines_ad import toy_backbone
from tests.baselines_ad.test_fine_tuned import batches_of, labelled
from tests.baselines_ad.test_methods import TOY


def test_a_bank_holds_no_more_than_its_room_of_each_class_in_order():
    images, labels = labelled()
    frozen, weights = Frozen(TOY, ("stem",), "float32"), toy_backbone.load("toy").params
    values = make_versions(frozen, flips=False)
    whole, drawn = (
        fill_bank(make_look(values, weights), batches_of(images, labels), room=room, seed=(7,))
        for room in (40, 6)
    )
    assert whole.place.tolist() == list(range(40)) and (whole.label == labels).all()
    assert np.bincount(drawn.label).tolist() == [6, 6] and (np.diff(drawn.place) > 0).all()
    np.testing.assert_array_equal(drawn.activations, whole.activations[drawn.place])
    assert (drawn.label == labels[drawn.place]).all()


def test_the_fewest_of_each_class_may_lie_in_different_parts():
    bank = Bank(np.zeros((5, 1, 1, 1, 1), np.float32), np.array([0, 0, 0, 1, 1]), np.arange(5))
    parts = np.array([[1, 1, 1, 1, 0], [1, 0, 0, 1, 1]], bool)
    assert fewest(bank, parts) == [1, 1]
    assert fewest(bank, parts[:1]) == [3, 1]


def test_everything_offered_has_the_same_chance_of_being_kept():
    counts = np.zeros(10)
    for seed in range(2000):
        drawn = Drawn(3, np.random.default_rng(seed))
        for place in range(10):
            drawn.offer(place, None)
        counts[[place for place, _ in drawn.kept]] += 1
    # Binomial with n = 2000, p = 0.3: five standard deviations are 102.
    np.testing.assert_allclose(counts, 600, atol=102)
