from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from ad_core.data.phantoms.fpet_sinogram import expected
from ad_core.data.phantoms.worlds import open_source
from ad_core.runtime.config import complete
from ad_core.runtime.recipes import load_recipe
from benchmarks.fpet_dose import DOSES, SERIES, figure, ratio, standard_error, table

ROOT = Path(__file__).parents[2]


def test_the_limit_is_that_of_the_matched_filter_in_closed_form():
    data = complete(load_recipe(f"{ROOT}/configs/fpet_sinogram.py:cpu")).data
    data.phantom.dose, data.phantom.normal, data.phantom.abnormal = 500.0, 60, 60
    source = open_source(data)
    scores, distances = [], []
    for i in range(len(source.records)):
        mean = expected(*source.part(i), size=data.image_size, dose=500.0)
        scores.append(ratio(source.read(i).image, mean))
        # Of Gaussian noise with variance = mean, the filter added / rest has the distance d.
        distances.append(np.sqrt((mean.added**2 / (mean.rest + 1e-12)).sum()))
    area = mannwhitneyu(scores[60:], scores[:60]).statistic / 3600
    wanted = norm.cdf(np.array(distances) / np.sqrt(2)).mean()
    assert 0.75 < wanted < 0.95
    assert abs(area - wanted) < 4 * standard_error(wanted, 60, 60)


def test_the_standard_error_of_chance_is_that_of_the_rank_sum():
    assert standard_error(0.5, 7, 12) == pytest.approx(np.sqrt(20 / (12 * 7 * 12)))
    assert standard_error(1.0, 7, 12) == 0


def test_table_and_figure_hold_every_dose_and_observer():
    values = dict.fromkeys([*SERIES, "missed", "alarms"], 0.75) | {"normal": 9, "abnormal": 9}
    rows = dict.fromkeys(DOSES, values)
    assert table(rows).count("\n") == 1 + len(DOSES) and "1,000,000" in table(rows)
    drawn = figure(rows)
    assert drawn.count("<circle") == len(DOSES) * len(SERIES)
    assert all(f">{name}<" in drawn for name in SERIES) and 'xmlns="http' in drawn
