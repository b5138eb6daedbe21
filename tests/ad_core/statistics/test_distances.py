import numpy as np
import pytest
import scipy.stats
from scipy.spatial import distance
from sklearn.metrics import mutual_info_score


def _scipy_or(documented, function, u, v):
    with np.errstate(all="ignore"):
        value = function(u, v)
    return value if np.isfinite(value) else documented(u, v)


def _zero_rule(u, v):
    """Both vectors vanish: 0. One of them: 1."""
    return 0.0 if not u.any() and not v.any() else 1.0


def _constant_rule(u, v):
    return _zero_rule(u - u[0], v - v[0])


SCIPY = {
    "euclidean": distance.euclidean,
    "sqeuclidean": distance.sqeuclidean,
    "minkowski": distance.minkowski,
    "minkowski_3": lambda u, v: distance.minkowski(u, v, p=3),
    "cityblock": distance.cityblock,
    "chebyshev": distance.chebyshev,
    "hamming": distance.hamming,
    "canberra": distance.canberra,
    "braycurtis": lambda u, v: _scipy_or(
        lambda u, v: np.abs(u - v).mean() / 1e-6, distance.braycurtis, u, v
    ),
    "cosine": lambda u, v: _scipy_or(_zero_rule, distance.cosine, u, v),
    "jensenshannon": lambda u, v: _jensenshannon(u + 1, v + 1),
    "wasserstein": scipy.stats.wasserstein_distance,
}


def _jensenshannon(p, q):
    if p.any() and q.any():
        return distance.jensenshannon(p, q)
    return 0.0 if not p.any() and not q.any() else np.sqrt(np.log(2))


def _correlation(u, v):
    constant = [np.ptp(z) == 0 for z in (u, v)]
    if any(constant):
        return 0.0 if all(constant) else 1.0
    return distance.correlation(u, v)


def _mutual_information(u, v):
    joint, _, _ = np.histogram2d(u, v, bins=64, range=[[-1, 1], [-1, 1]])
    return mutual_info_score(None, None, contingency=joint)


OTHERS = {**SCIPY, "correlation": _correlation, "mutual_information": _mutual_information}


@pytest.mark.filterwarnings("ignore:invalid value|divide by zero:RuntimeWarning")
def test_distances_equal_scipy_and_sklearn(measure, pair):
    x, y = pair
    got = measure(tuple(OTHERS), x, y)
    u, v = x.ravel().astype(np.float64), y.ravel().astype(np.float64)
    for name, function in OTHERS.items():
        # jensenshannon is a root: SciPy's own float64 error of 1e-16 shows as 1e-8.
        atol = 1.3e-4 if name == "wasserstein" else 1e-6  # which rounds values to 1 / 8192
        np.testing.assert_allclose(got[name], function(u, v), rtol=5e-5, atol=atol, err_msg=name)


def test_entropy_of_the_residual_equals_scipy(measure, pair):
    x, y = pair
    counts, _ = np.histogram((x - y).astype(np.float64), bins=256, range=(-2, 2))
    expected = scipy.stats.entropy(counts / counts.sum())
    got = measure(("residual_entropy",), x, y)["residual_entropy"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_wasserstein_of_large_images_is_within_a_fine_step_of_scipy(measure):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (80, 70, 3)).astype(np.float32)
    y = np.clip(0.7 * x + 0.1 * rng.normal(size=x.shape), -1, 1).astype(np.float32)
    expected = scipy.stats.wasserstein_distance(x.ravel(), y.ravel())
    assert abs(measure(("wasserstein",), x, y)["wasserstein"] - expected) < 2e-6
    assert measure(("wasserstein",), x, x[::-1])["wasserstein"] == 0.0


@pytest.mark.parametrize("zeros", ["both", "one"])
def test_zero_vectors_have_the_documented_distances(measure, zeros):
    x = np.zeros((8, 8, 1), np.float32)
    y = x if zeros == "both" else x + 0.5
    expected = 0.0 if zeros == "both" else 1.0
    got = measure(("cosine", "canberra", "braycurtis", "correlation"), x, y)
    assert got["cosine"] == expected
    assert got["correlation"] == 0.0
    assert got["canberra"] == expected * 64
    assert got["braycurtis"] == expected


def test_an_image_without_mass_is_as_far_as_jensenshannon_goes(measure):
    x, y = np.full((8, 8, 1), -1, np.float32), np.zeros((8, 8, 1), np.float32)
    assert measure(("jensenshannon",), x, x)["jensenshannon"] == 0.0
    got = measure(("jensenshannon",), x, y)["jensenshannon"]
    assert got == pytest.approx(np.sqrt(np.log(2)))
