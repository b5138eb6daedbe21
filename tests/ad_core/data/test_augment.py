from collections import Counter

import numpy as np
import pytest

from ad_core.data.augment import augment, check_augment, version, versions_of_each
from ad_core.errors import UserError

LETTER = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)[..., None]
# The eight ways to lay a square tile, each read row by row.
SYMMETRIES = {
    "123456789": "as it is",
    "321654987": "left to right",
    "789456123": "upside down",
    "987654321": "half a turn",
    "147258369": "along the diagonal",
    "963852741": "along the other diagonal",
    "741852963": "a quarter turn right",
    "369258147": "a quarter turn left",
}


def _read(image):
    return "".join(str(int(value)) for value in image.ravel())


def _drawn(kind, count=800):
    return Counter(
        _read(augment(LETTER, kind=kind, seed=0, epoch=n // 100, index=n % 100))
        for n in range(count)
    )


def test_flips_and_turns_are_the_eight_symmetries_equally_often():
    drawn = _drawn("flips_and_turns")
    assert set(drawn) == set(SYMMETRIES)
    # 100 each expected; five standard deviations of the binomial are 47.
    assert all(abs(count - 100) < 47 for count in drawn.values())


def test_hflip_mirrors_half_of_the_time():
    drawn = _drawn("hflip")
    assert set(drawn) == {"123456789", "321654987"}
    assert abs(drawn["123456789"] - 400) < 71


def test_none_changes_nothing():
    assert augment(LETTER, kind="none", seed=1, epoch=2, index=3).tolist() == LETTER.tolist()


def test_seed_epoch_and_index_each_change_the_draw_and_nothing_else_does():
    def draws(**fixed):
        at = {"seed": 0, "epoch": 0, "index": 0} | fixed
        return [
            _read(augment(LETTER, kind="flips_and_turns", **at | {name: n}))
            for name in ("seed", "epoch", "index")
            for n in range(20)
        ]

    first = draws()
    np.random.default_rng(7).random(100)
    assert first == draws()
    assert all(len(set(first[start : start + 20])) > 4 for start in (0, 20, 40))
    assert first[:20] != first[20:40] != first[40:]


def test_an_image_of_other_sides_turns_too():
    image = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    shapes = {
        augment(image, kind="flips_and_turns", seed=0, epoch=0, index=n).shape for n in range(40)
    }
    assert shapes == {(2, 3, 1), (3, 2, 1)}


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(UserError, match="'flip'.*none, hflip, flips_and_turns"):
        augment(LETTER, kind="flip", seed=0, epoch=0, index=0)


def test_nine_versions_are_the_recipes_in_its_order():
    names = [_read(version(LETTER, kind="nine_versions", number=n)) for n in range(9)]
    turned = [_read(np.rot90(LETTER, n)) for n in range(4)]
    mirrored = [_read(np.rot90(LETTER[:, ::-1], n)) for n in range(4)]
    assert names == [*turned, *mirrored, _read(LETTER[::-1])]
    assert {SYMMETRIES[name] for name in names} == set(SYMMETRIES.values())
    assert [versions_of_each(kind) for kind in ("none", "hflip", "nine_versions")] == [1, 1, 9]
    # Single images draw them: upside down is twice as likely as the others.
    drawn = _drawn("nine_versions", count=1800)
    assert set(drawn) == set(SYMMETRIES)
    assert abs(drawn["789456123"] - 400) < 90


def test_what_turns_an_image_needs_a_square():
    for kind in ("none", "hflip", "flips_and_turns", "nine_versions"):
        check_augment(kind, (8, 8, 1))
    check_augment("hflip", (8, 12, 1))
    for kind in ("flips_and_turns", "nine_versions"):
        with pytest.raises(
            UserError, match=rf"`data\.augment` \(='{kind}'\).*\(=8,12\) is no square"
        ):
            check_augment(kind, (8, 12, 1))
    with pytest.raises(UserError, match="'flip'.*none, hflip"):
        check_augment("flip", (8, 8, 1))
