import numpy as np
import pytest
from skimage.data import shepp_logan_phantom
from skimage.transform import radon, resize

from ad_core.data.phantoms import canvas
from ad_core.data.phantoms.radon import project


def _within_circle(image):
    grid = np.arange(len(image)) - (len(image) - 1) / 2
    return image * (np.hypot(grid[:, None], grid[None, :]) < len(image) / 2 - 1)


@pytest.mark.parametrize("kind", ["head", "smooth"])
def test_projections_are_those_of_scikit_image(kind):
    # An odd side, where both turn about the same pixel. What differs is the interpolation:
    # scikit-image turns the picture bilinearly, we share pixels between bins.
    side, views = 129, 60
    if kind == "head":
        image, tolerance = resize(shepp_logan_phantom(), (side, side)), 0.01
    else:
        noise = canvas.smooth_noise(np.random.default_rng(0), (side, side), (5.0, 5.0))
        image, tolerance = np.maximum(noise, 0), 0.005
    image = _within_circle(image)
    theirs = radon(image, np.arange(views) * 180 / views, circle=True).T
    ours = project(image, views=views, bins=side)
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) < tolerance * np.linalg.norm(theirs)


def test_a_disc_projects_to_its_chords_from_every_side():
    side, bins, radius = 512, 128, 0.3
    grid = canvas.centres(side) - 0.5
    across, down = grid[None, :] - 0.08, grid[:, None] + 0.05
    disc = canvas.ramp(radius - np.hypot(across, down), 2 / side)
    sums = project(disc, views=48, bins=bins) * bins / side**2  # line integrals, in shares
    angle = np.arange(48)[:, None] * np.pi / 48
    middle = 0.08 * np.cos(angle) + 0.05 * np.sin(angle)
    distance = canvas.centres(bins)[None, :] - 0.5 - middle
    chords = 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    inner = np.abs(distance) < radius - 2 / bins  # the edge is blurred by a bin
    np.testing.assert_allclose(sums[inner], chords[inner], rtol=0.01)
    assert (sums[np.abs(distance) > radius + 2 / bins] == 0).all()


def test_each_view_holds_the_whole_image_and_a_point_traces_a_sinusoid():
    image = np.zeros((64, 64))
    image[20, 45] = 3.0
    sums = project(image, views=90, bins=32)
    np.testing.assert_allclose(sums.sum(axis=1), 3.0, rtol=1e-12)
    angle = np.arange(90) * np.pi / 90
    expected = (13.5 * np.cos(angle) + 11.5 * np.sin(angle)) / 2 + 15.5
    np.testing.assert_allclose(sums @ np.arange(32) / 3.0, expected, atol=1e-9)
    assert ((sums > 0).sum(axis=1) <= 2).all()


def test_projection_is_linear_and_reaches_only_bins_beside_what_is_there():
    rng = np.random.default_rng(1)
    one, other = _within_circle(rng.random((48, 48))), np.zeros((48, 48))
    other[30:34, 12:15] = 1
    both = project(one + other, views=20, bins=24)
    parts = project(one, views=20, bins=24), project(other, views=20, bins=24)
    np.testing.assert_allclose(both, parts[0] + parts[1], atol=1e-9)
    assert 0 < (parts[1] > 0).mean() < 0.25
