"""Each statistic against its definition in NumPy and SciPy, float64, written independently."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist, directed_hausdorff
from skimage.metrics import structural_similarity

from ad_core.errors import UserError
from ad_core.statistics import compute
from ad_core.types import View


def _local_moments(x, y, side):
    def mean(z):
        windows = np.lib.stride_tricks.sliding_window_view(z, (side, side))
        return windows.mean(axis=(-1, -2))

    mx, my = mean(x), mean(y)
    return mx, my, mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my


def _ms_ssim_channel(x, y):
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    count = max(s for s in range(1, 6) if min(x.shape) // 2 ** (s - 1) >= 7)
    weights = weights[:count] / weights[:count].sum()
    result = 1.0
    for i, weight in enumerate(weights):
        mx, my, vx, vy, cov = _local_moments(x, y, 7)
        term = (2 * cov * 49 / 48 + 0.06**2) / ((vx + vy) * 49 / 48 + 0.06**2)
        if i == count - 1:
            term = term * (2 * mx * my + 0.02**2) / (mx**2 + my**2 + 0.02**2)
        result *= max(term.mean(), 0.0) ** weight
        x, y = (
            ndimage.uniform_filter(z, 2, origin=-1)[
                : -1 if z.shape[0] % 2 else None : 2, : -1 if z.shape[1] % 2 else None : 2
            ]
            for z in (x, y)
        )
    return result


def _uiq_channel(x, y):
    mx, my, vx, vy, cov = _local_moments(x, y, 8)
    flat, dark = vx + vy < 1e-5, mx**2 + my**2 < 1e-5
    structure = np.where(flat, 1.0, 2 * cov / np.where(flat, 1.0, vx + vy))
    return np.mean(structure * np.where(dark, 1.0, 2 * mx * my / np.where(dark, 1, mx**2 + my**2)))


def _channels(function):
    return lambda x, y: np.mean([function(x[..., i], y[..., i]) for i in range(x.shape[-1])])


def _sam(x, y):
    a, b = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, 1)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return np.mean(np.where(lengths > 0, angle, 0))


def _sre(x, y):
    values = []
    for i in range(x.shape[-1]):
        signal, error = x[..., i].mean() ** 2, np.mean((x[..., i] - y[..., i]) ** 2)
        value = 10 * np.log10(signal / error) if error > 0 else 150.0
        values.append(np.clip(value, -150, 150))
    return np.mean(values)


def _magnitude(z, smooth):
    difference = np.array([-1.0, 0, 1])
    across = ndimage.correlate1d(ndimage.correlate1d(z, difference, axis=1), smooth, axis=0)
    down = ndimage.correlate1d(ndimage.correlate1d(z, difference, axis=0), smooth, axis=1)
    return np.hypot(across, down)[1:-1, 1:-1]


def _gms_map(x, y):
    def halve(z):
        h, w = z.shape[0] // 2, z.shape[1] // 2
        return z[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean(axis=(1, 3))

    a, b = (_magnitude(halve(z.mean(axis=-1)), np.full(3, 1 / 3)) for z in (x, y))
    constant = 170 * (2 / 255) ** 2
    return (2 * a * b + constant) / (a**2 + b**2 + constant)


SCHARR = np.array([3, 10, 3]) / 16


def _issm(x, y):
    joint, _, _ = np.histogram2d(x.ravel(), y.ravel(), bins=16, range=[[-1, 1], [-1, 1]])
    share = joint[joint > 0] / joint.sum()
    bits = -np.sum(share * np.log2(share))
    a, b = (_magnitude(z.mean(axis=-1), SCHARR) for z in (x, y))
    constant = [np.ptp(z) < 1e-6 for z in (a, b)]
    edges = float(all(constant)) if any(constant) else np.corrcoef(a.ravel(), b.ravel())[0, 1]
    ssim = structural_similarity(x, y, data_range=2, channel_axis=-1)
    above = edges * bits * 0.8 + np.e
    return above / (0.3 * edges * bits + 0.5 * bits + 0.7 * ssim + np.e)


def _phase(z):
    """One filter at a time, from its definition in polar coordinates of the frequency plane."""
    h, w = z.shape
    spectrum = np.fft.fft2((z - z.mean()) * 127.5)
    energy, amplitude = np.zeros((h, w)), np.zeros((h, w))
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :]
    radius = np.sqrt(fx**2 + fy**2)
    plane = np.exp(1j * np.arctan2(-fy, fx))
    for orientation in range(4):
        away = np.abs(np.angle(plane * np.exp(-1j * np.pi * orientation / 4)))
        total = 0
        for scale in range(4):
            with np.errstate(divide="ignore"):
                octave = np.log(radius * 6 * 2**scale)
            band = np.exp(-((octave / np.log(0.55)) ** 2) / 2)
            band = band / (1 + (radius / 0.45) ** 30)
            angular = np.exp(-((away / (np.pi / 4 / 1.2)) ** 2) / 2)
            response = np.fft.ifft2(spectrum * band * angular)
            total = total + response
            amplitude += np.abs(response)
        energy += np.abs(total)
    return energy / (1e-4 + amplitude)


def _fsim(x, y):
    x, y = x.mean(axis=-1), y.mean(axis=-1)
    p, q = _phase(x)[1:-1, 1:-1], _phase(y)[1:-1, 1:-1]
    a, b = _magnitude(x, SCHARR), _magnitude(y, SCHARR)
    t = 160 * (2 / 255) ** 2
    alike = (2 * p * q + 0.85) / (p**2 + q**2 + 0.85) * (2 * a * b + t) / (a**2 + b**2 + t)
    weight = np.maximum(p, q)
    return np.sum(alike * weight) / weight.sum() if weight.max() > 1e-6 else 1.0


def _rows(z):
    return z.reshape(len(z), -1)


def _frechet(x, y):
    d = cdist(_rows(x), _rows(y))
    c = np.full_like(d, np.inf)
    for i in range(len(d)):
        for j in range(len(d)):
            before = [c[i - 1, j]] * (i > 0) + [c[i, j - 1]] * (j > 0)
            before += [c[i - 1, j - 1]] * (i > 0 and j > 0)
            c[i, j] = max(d[i, j], min(before, default=0.0))
    return c[-1, -1]


OTHERS = {
    "ms_ssim": (_channels(_ms_ssim_channel), 2e-6),
    "uiq": (_channels(_uiq_channel), 2e-4),  # ratios of tiny variances
    "sam": (_sam, 2e-3),  # degrees
    "sre": (_sre, 1e-2),  # dB, of means near zero
    "gms": (lambda x, y: _gms_map(x, y).mean(), 2e-6),
    "gmsd": (lambda x, y: _gms_map(x, y).std(), 2e-6),
    "issm": (_issm, 2e-6),
    "fsim": (_fsim, 2e-5),
    "directed_hausdorff": (lambda x, y: directed_hausdorff(_rows(x), _rows(y))[0], 2e-3),
    "frechet": (_frechet, 2e-3),  # distances from inner products in float32
}


def test_structural_statistics_equal_their_definitions(measure, pair):
    x, y = pair
    got = measure(tuple(OTHERS), x, y)
    x, y = x.astype(np.float64), y.astype(np.float64)
    for name, (function, tolerance) in OTHERS.items():
        np.testing.assert_allclose(got[name], function(x, y), atol=tolerance, err_msg=name)


def test_identical_images_have_the_documented_values(measure):
    x = np.random.default_rng(0).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    got = measure(tuple(OTHERS), x, x)
    for name in ("ms_ssim", "uiq", "gms", "fsim"):
        assert got[name] == pytest.approx(1.0, abs=1e-6), name
    for name in ("sam", "gmsd", "directed_hausdorff", "frechet"):
        assert got[name] == pytest.approx(0.0, abs=1e-4), name
    assert got["sre"] == 150.0


def test_frechet_is_at_least_hausdorff_and_sees_the_order_of_rows(measure):
    x = np.random.default_rng(0).uniform(-1, 1, (16, 16, 1)).astype(np.float32)
    got = measure(("directed_hausdorff", "frechet"), x, x[::-1].copy())
    assert got["directed_hausdorff"] < 2e-3
    assert got["frechet"] > 1.0


@pytest.mark.parametrize(("name", "side"), [("uiq", 7), ("ms_ssim", 6), ("gms", 5)])
def test_images_below_the_window_are_refused(name, side):
    x = jnp.zeros((1, side, side, 1))
    with pytest.raises(UserError, match="at least"):
        compute(name, x, View(x, {}, {}))
