import json

import numpy as np

from ad_core.data.region import looked_at
from ad_core.runtime.inference import Begun
from ad_core.scoring.interest import within_region
from ad_core.scoring.measuring import Measured, Measurer

REGION = json.dumps({"width": 2, "height": 1, "inspect": [[[0, 0], [1, 0], [1, 1], [0, 1]]]})


def measurer_of(maps):
    measured = Measured(np.ones((len(maps), 1), np.float32), maps[:, None], None)
    return Measurer(
        batch_size=len(maps),
        begin=lambda image, content: Begun(lambda: measured, lambda: None),
        view=lambda image, content: None,
        compilations=lambda: 0,
        relearnt=lambda known: measurer_of(maps + 1),
    )


def test_a_map_is_at_its_lowest_outside_the_region_and_as_it_is_inside():
    maps = np.random.default_rng(0).uniform(1, 2, (2, 8, 16)).astype(np.float32)
    maps[:, 4, 14] = 9.0
    content = np.array([[0, 0, 16, 8], [0, 0, 8, 8]], np.int32)
    found = within_region(measurer_of(maps), REGION).measure(np.zeros((2, 8, 16, 1)), content)
    looked = looked_at(REGION, 8, 16)
    np.testing.assert_array_equal(found.anomaly_map[0][looked], maps[0][looked])
    assert (found.anomaly_map[0][~looked] == maps[0][looked].min()).all()
    # The second image fills the left half alone, and the region is half of that.
    assert np.ptp(found.anomaly_map[1][:, 6:]) == 0 and np.ptp(found.anomaly_map[1][:, :4]) > 0
    assert (found.statistics == 1).all()


def test_without_a_region_nothing_changes_and_with_one_it_stays_for_other_states():
    measurer = measurer_of(np.arange(32, dtype=np.float32).reshape(1, 4, 8))
    assert within_region(measurer, "") is measurer
    again = within_region(measurer, REGION).relearnt([None])
    found = again.measure(np.zeros((1, 4, 8, 1)), None).anomaly_map
    assert found.min() == 1 and (found[0, :, 6:] == 1).all()
