import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.measure import label
from sklearn.metrics import roc_auc_score

from ad_core.data.phantoms.board_layout import (
    BODIES,
    DEFECT,
    FAMILIES,
    TOLERANCE,
    board,
    design,
    family,
    pads,
)
from ad_core.data.phantoms.canvas import stream
from ad_core.data.phantoms.pcba import DEFECTS, draw

KINDS = tuple(DEFECTS)


def _faulty(kind, seed, scan=0):
    whole = board(seed)
    return whole, DEFECTS[kind](whole, stream(DEFECT, seed, scan))


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_exactly_the_pixels_of_its_mask(kind, size):
    for number in range(3):
        image, mask = draw((3, 1, number), 0, size=size, defect=kind)
        whole, empty = draw((3, 1, number), 0, size=size, defect=None)
        np.testing.assert_array_equal((image != whole).any(axis=-1), mask)
        assert not empty.any() and 0.0005 < mask.mean() < 0.15
        assert label(binary_dilation(mask, iterations=2)).max() == 1  # it lies in one place


def test_the_families_differ_in_their_layout_and_boards_take_them_in_turns():
    assert [family((0, 1, number)) for number in range(4)] == [*FAMILIES, FAMILIES[0]]
    layouts = {tuple(part[:4] for part in design(name)) for name in FAMILIES}
    assert len(layouts) == len(FAMILIES) > 2
    kinds = {name: {part.kind for part in design(name)} for name in FAMILIES}
    assert "electrolytic" in kinds["power"] - kinds["controller"] - kinds["sensor"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_layout_keeps_its_components_apart_and_on_the_board(name):
    cover = np.zeros((200, 200), int)
    x = (np.arange(200) + 0.5) / 200
    for part in design(name):
        width, height = BODIES[part.kind][:2]
        if round(part.angle / (np.pi / 2)) % 2:
            width, height = height, width
        body = (np.abs(x - part.x) < width)[None, :] & (np.abs(x - part.y) < height)[:, None]
        assert body.sum() > 0.98 * 4 * width * height * 200**2 - 2 * 200 * (width + height)
        cover += body
        assert ((pads(part)[:, :2] > 0) & (pads(part)[:, :2] < 1)).all()
    assert cover.max() == 1 and 0.1 < cover.mean() < 0.6


def test_boards_of_a_family_have_its_layout_within_the_tolerance():
    for number in range(0, 30, 3):
        made = board((0, 0, number))
        for part, plan in zip(made.parts, design(family((0, 0, number))), strict=True):
            assert part.kind == plan.kind
            assert max(abs(part.x - plan.x), abs(part.y - plan.y)) <= 2 * TOLERANCE + 1e-9
            assert abs(part.angle - plan.angle) <= 0.05 + 1e-9


def test_each_fault_is_what_its_name_says():
    for number in range(12):
        seed = (2, 1, number)
        whole, faulty = _faulty("missing", seed)
        assert len(faulty.parts) == len(whole.parts) - 1 and faulty.design == whole.design
        for kind in ("rotated", "shifted"):
            whole, faulty = _faulty(kind, seed)
            pairs = zip(whole.parts, faulty.parts, strict=True)
            ((one, other),) = [pair for pair in pairs if pair[0] != pair[1]]
            turn = abs(np.rad2deg(other.angle - one.angle))
            move = np.hypot(other.x - one.x, other.y - one.y)
            if kind == "rotated":
                assert 20 <= turn <= 90 and move == 0
            else:
                assert turn == 0 and 0.045 <= move <= 0.08
        whole, faulty = _faulty("solder_bridge", seed)
        assert faulty.parts == whole.parts and len(faulty.bridges[0]) in (2, 3)
        owners = [p for p in whole.parts if np.isin(faulty.bridges[0], pads(p)).all()]
        assert BODIES[owners[0].kind][2] > 1


def test_a_bridge_is_bright_solder_and_the_bare_pads_of_a_missing_part_show():
    for number in range(3):
        image, mask = draw((2, 1, number), 0, size=256, defect="solder_bridge")
        whole, _ = draw((2, 1, number), 0, size=256, defect=None)
        assert image[mask].mean() > whole[mask].mean() + 0.1
        assert image[mask].mean() > 0.1
        image, mask = draw((2, 1, number), 0, size=256, defect="missing")
        grey = np.ptp(image, axis=-1) < 0.15
        assert (grey & (image.mean(axis=-1) > -0.1))[binary_dilation(mask, iterations=6)].any()


def test_shots_of_a_board_show_the_same_board():
    first, second = (draw((4, 0, 7), scan, size=64, defect=None)[0] for scan in (0, 1))
    stranger = draw((4, 0, 8), 0, size=64, defect=None)[0]
    assert not np.array_equal(first, second)
    assert np.abs(first - second).mean() < 0.6 * np.abs(first - stranger).mean()


def test_no_naive_statistic_of_the_image_gives_the_faults_away():
    whole = np.stack([draw((8, 0, s), 0, size=32, defect=None)[0] for s in range(40)])
    faulty = [draw((8, 1, s), 0, size=32, defect=KINDS[s % len(KINDS)])[0] for s in range(40)]
    labels = np.repeat([0, 1], [len(whole), len(faulty)])
    for name in ("mean", "std", "max"):
        scores = [getattr(image, name)() for image in (*whole, *faulty)]
        assert 0.15 < roc_auc_score(labels, scores) < 0.85, name
