import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion
from sklearn.metrics import roc_auc_score

from ad_core.data.phantoms.canvas import stream
from ad_core.data.phantoms.retina_anatomy import INDEX, LAYERS, LESION, anatomy, borders
from ad_core.data.phantoms.retina_lesions import DEFECTS
from ad_core.data.phantoms.retina_oct import draw

KINDS = tuple(DEFECTS)


def _grey(scan, size=256, defect=None, seed=(3, 1)):
    image, mask = draw(seed, scan, size=size, defect=defect)
    return image[:, :, 0], mask


def _lesion(kind, scan, seed=(3, 1)):
    healthy = anatomy(seed, scan, 256)
    return healthy, DEFECTS[kind](healthy, stream(LESION, seed, scan))


def test_64_pixels_are_the_reduction_of_256():
    large, _ = _grey(0, size=256)
    small, _ = _grey(0, size=64)
    blocks = large.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert np.abs(blocks - small).max() <= 1.01 / 127.5  # half a level of rounding in each


def test_a_short_seed_is_not_a_longer_one_with_zeros():
    images = [draw(seed, 0, size=32, defect=None)[0] for seed in ((5,), (5, 0), (5, 0, 0))]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_layers_lie_in_order_and_have_the_brightness_known_of_them():
    sums = {layer.name: [] for layer in LAYERS if layer.thickness}
    vitreous, shallow, deep = [], [], []
    for patient in range(24):
        image, _ = _grey(0, seed=(9, 0, patient))
        edges = borders(anatomy((9, 0, patient), 0, 256)) * 256
        assert (np.diff(edges, axis=0) >= 0).all()
        columns = np.arange(256)
        for name, values in sums.items():
            middle = 0.5 * (edges[INDEX[name]] + edges[INDEX[name] + 1])
            values.append(image[middle.astype(int), columns].mean())
        vitreous.append(image[(edges[0] * 0.5).astype(int), columns].mean())
        shallow.append(image[(edges[-1] + 10).astype(int), columns].mean())
        deep.append(image[-4:].mean())
    mean = {name: np.mean(values) for name, values in sums.items()}
    assert max(mean, key=mean.__getitem__) == "rpe"
    assert mean["rpe"] > mean["nfl"] > mean["ipl"] > mean["inl"] > np.mean(vitreous)
    assert mean["gcl"] > mean["inl"] and mean["opl"] > mean["inl"]
    assert mean["opl"] > mean["onl"] > np.mean(vitreous)
    assert mean["ellipsoid"] > max(mean["myoid"], mean["outer_segments"])
    assert mean["elm"] > max(mean["onl"], mean["myoid"])
    assert mean["rpe"] > np.mean(shallow) > np.mean(deep)


def test_the_pit_thins_the_inner_retina():
    thin = []
    for patient in range(20):
        retina = anatomy((2, patient), 0, 256)
        edges = borders(retina)
        inner = edges[INDEX["onl"]] - edges[0]
        thin.append(inner[int(retina.pit * 256)] / np.median(inner))
    assert min(thin) < 0.4 and max(thin) <= 1.05 and np.mean(thin) < 0.75


def test_scans_of_a_patient_share_the_anatomy_and_not_the_speckle():
    first, second = anatomy((4, 0, 7), 0, 256), anatomy((4, 0, 7), 1, 256)
    stranger = anatomy((4, 0, 8), 0, 256)
    assert first.pit == second.pit != stranger.pit
    np.testing.assert_array_equal(first.brightness, second.brightness)
    np.testing.assert_array_equal(first.choroid, second.choroid)
    assert not np.array_equal(_grey(0)[0], _grey(1)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_columns_without_lesion_equal_the_healthy_twin_bit_for_bit(kind):
    # In the other columns a lesion may lift what lies above it, thin it and dim it.
    untouched_columns = 0
    for scan in range(12):
        healthy, lesion = _lesion(kind, scan)
        same = ~lesion.cover.any(axis=0)
        for one, other in zip(healthy[:5], lesion.retina[:5], strict=True):
            same &= (one == other).reshape(-1, 256).all(axis=0)
        image, mask = _grey(scan, defect=kind)
        twin, empty = _grey(scan)
        np.testing.assert_array_equal(image[:, same], twin[:, same])
        assert not mask[:, same].any() and not empty.any()
        untouched_columns += same.sum()
    assert untouched_columns > 0.4 * 12 * 256


@pytest.mark.parametrize("kind", ["fluid", "drusen"])
def test_nothing_changes_below_bruchs_membrane(kind):
    rows = np.arange(256)[:, None]
    for scan in range(8):
        below = rows > anatomy((3, 1), scan, 256).base * 256 + 3
        image, twin = _grey(scan, defect=kind)[0], _grey(scan)[0]
        np.testing.assert_array_equal(image[below], twin[below])


@pytest.mark.parametrize("kind", KINDS)
def test_no_lesion_vanishes_and_sizes_vary(kind):
    shares = np.array([draw((1, s), 0, size=64, defect=kind)[1].mean() for s in range(40)])
    assert shares.min() > 0.0005 and shares.max() < 0.12
    assert shares.max() > 2.5 * shares.min()


def test_fluid_is_dark_within_and_bordered_by_tissue():
    for scan in range(12):
        image, mask = _grey(scan, defect="fluid")
        ring = binary_dilation(mask, iterations=6) & ~binary_dilation(mask, iterations=2)
        core = binary_erosion(mask, iterations=2)
        assert image[core].mean() < image[ring].mean() - 0.25
        assert np.quantile(image[core], 0.9) < np.median(image[ring])


def test_subretinal_fluid_lifts_the_retina_from_the_rpe():
    lifted = 0
    for scan in range(12):
        healthy, lesion = _lesion("fluid", scan)
        gap = lesion.retina.thickness[INDEX["subretinal_space"]]
        before, after = borders(healthy), borders(lesion.retina)
        np.testing.assert_array_equal(before[INDEX["rpe"]], after[INDEX["rpe"]])
        assert (after[0] <= before[0] + 1e-6).all()
        at = np.argmax(gap)
        lifted += after[INDEX["ellipsoid"], at] < before[INDEX["ellipsoid"], at] - 0.02
    assert lifted >= 3


def test_drusen_lift_the_rpe_into_a_bright_roof_over_a_dimmer_filling():
    for scan in range(12):
        healthy, lesion = _lesion("drusen", scan)
        before, after = (borders(r)[INDEX["rpe"]] for r in (healthy, lesion.retina))
        image, mask = _grey(scan, defect="drusen")
        columns = mask.any(axis=0)
        assert (after[columns] < before[columns] - 0.005).all()
        tall = np.flatnonzero(mask.sum(axis=0) >= 14)
        roof = [image[np.flatnonzero(mask[:, c])[1:5], c].mean() for c in tall]
        filling = [image[np.flatnonzero(mask[:, c])[7:-3], c].mean() for c in tall]
        assert np.mean(roof) > np.mean(filling) + 0.15


def test_a_membrane_is_brighter_than_the_retina_above_it_and_shadows_the_choroid():
    for scan in range(12):
        image, mask = _grey(scan, defect="membrane")
        twin, _ = _grey(scan)
        ring = binary_dilation(mask, iterations=8) & ~binary_dilation(mask, iterations=3)
        assert image[mask].mean() > image[ring].mean() + 0.25
        columns = mask.any(axis=0)
        assert image[230:, columns].mean() < twin[230:, columns].mean()
        # The layers that the mass breaks through: the healthy ones stay within their borders.
        rpe = borders(anatomy((3, 1), scan, 256))[INDEX["rpe"]] * 256
        rows = np.arange(256)[:, None]
        assert (mask & (rows < rpe)).any() and (mask & (rows > rpe)).any()


def test_no_naive_statistic_of_the_image_gives_the_lesions_away():
    healthy = np.stack([_grey(0, 64, seed=(8, 0, s))[0] for s in range(100)])
    reference, test = healthy[:50].mean(axis=0), healthy[50:]
    statistics = {
        "mean": lambda x: x.mean(axis=(1, 2)),
        "std": lambda x: x.std(axis=(1, 2)),
        "max": lambda x: x.max(axis=(1, 2)),
        "distance": lambda x: np.sqrt(((x - reference) ** 2).sum(axis=(1, 2))),
    }
    for kind in KINDS:
        sick = np.stack([_grey(0, 64, kind, seed=(8, 1, s))[0] for s in range(40)])
        labels = np.repeat([0, 1], [len(test), len(sick)])
        for name, statistic in statistics.items():
            scores = np.concatenate([statistic(test), statistic(sick)])
            auroc = roc_auc_score(labels, scores)
            assert 0.15 < auroc < 0.85, (kind, name, auroc)
