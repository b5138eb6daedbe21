"""One spot of 200 pixels, painted in every way that masks are painted in."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from ad_core.data.formats.masks import covered, read_mask
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.data.layouts.folder import open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

LIMITS = Limits(10**6, 10**7, 1, 99)
SPOT = np.zeros((40, 60), bool)
SPOT[10:20, 30:50] = True


def of(path):
    return read_mask(path, Wanted("refuse", "z"), LIMITS).abnormal


def rgba(inside, outside):
    return Image.fromarray(np.where(SPOT[..., None], np.uint8(inside), np.uint8(outside)))


def palette(colours, index):
    image = Image.frombytes("P", (60, 40), np.uint8(index).tobytes())
    image.putpalette([part for colour in colours for part in colour])
    return image


WHITE, BLACK, RED, GREY = (255, 255, 255), (0, 0, 0), (255, 0, 0), (128, 128, 128)
PAINTED = {
    "white on black": Image.fromarray(np.uint8(SPOT) * 255),
    "one of 255 on black": Image.fromarray(np.uint8(SPOT)),
    "bits": Image.fromarray(SPOT),
    "16 bits": Image.fromarray(np.uint16(SPOT) * 7),
    "red on black": rgba((*RED, 255), (*BLACK, 255)),
    "white, shown where abnormal": rgba((*WHITE, 255), (*WHITE, 0)),
    "black, shown where abnormal": rgba((*BLACK, 255), (*BLACK, 0)),
    "red on clear white": rgba((*RED, 255), (*WHITE, 0)),
    "black on clear white": rgba((*BLACK, 255), (*WHITE, 0)),
    "white on clear black": rgba((*WHITE, 255), (*BLACK, 0)),
    "a thin veil of red": rgba((*RED, 90), (*RED, 0)),
    "grey and alpha": rgba((*WHITE, 255), (*WHITE, 0)).convert("LA"),
    "palette, black ground": palette([BLACK, RED], SPOT),
    "palette, grey ground": palette([GREY, RED], SPOT),
    "palette, the ground last": palette([WHITE, BLACK], ~SPOT),
}


@pytest.mark.parametrize("name", sorted(PAINTED))
def test_the_spot_is_found_however_it_is_painted(tmp_path, name):
    PAINTED[name].save(tmp_path / "m.png")
    np.testing.assert_array_equal(of(tmp_path / "m.png"), SPOT)


@pytest.mark.parametrize(("kind", "quality"), [("JPEG", 40), ("JPEG", 95), ("WEBP", 60)])
def test_a_lossy_mask_is_what_is_above_half(tmp_path, kind, quality):
    """Its edge is blurred: taken for all that is not black, the spot would grow by a fifth."""
    PAINTED["white on black"].save(tmp_path / "m", kind, quality=quality)
    mask = of(tmp_path / "m")
    assert (mask ^ SPOT).sum() <= 8
    grown = np.asarray(Image.open(tmp_path / "m").convert("L")) > 0
    assert quality == 95 or (grown ^ SPOT).sum() > 40


def test_an_inverted_mask_covers_nearly_all(tmp_path):
    Image.fromarray(np.uint8(~SPOT) * 255).save(tmp_path / "m.png")
    assert covered(of(tmp_path / "m.png")) == 1 - 200 / 2400
    assert covered(SPOT) == 200 / 2400 and covered(None) == 0


def photographed(root, orientation, mask, *, shape=(40, 60), tagged=False):
    """A set of one abnormal image, stored in `shape`, turned by its tag, and its mask."""
    for place in ("train/good", "test/dot", "ground_truth/dot"):
        (root / place).mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros(shape, np.uint8)
    stored[: SPOT.shape[0], : SPOT.shape[1]][SPOT[: shape[0], : shape[1]]] = 250
    image = Image.fromarray(stored)
    image.save(root / "train/good/a.png")
    image.save(root / "test/dot/a.jpg", exif=exif, quality=95)
    Image.fromarray(np.uint8(mask) * 255).save(
        root / "ground_truth/dot/a_mask.png", **({"exif": exif} if tagged else {})
    )
    data = defaults("cpu").data
    data.root, data.image_size = str(root), 32
    return open_source(data)


def upright(orientation, stored):
    """What Pillow itself makes of the tag."""
    image = Image.fromarray(np.uint8(stored))
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image)) > 0


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("drawn", ["as stored", "upright", "with the tag"])
def test_a_mask_lies_upright_as_its_image_does(tmp_path, orientation, drawn):
    expected = upright(orientation, SPOT)
    mask = expected if drawn == "upright" else SPOT
    source = photographed(tmp_path, orientation, mask, tagged=drawn == "with the tag")
    sample = source.read(0)
    np.testing.assert_array_equal(sample.mask, expected)
    np.testing.assert_array_equal(source.read_mask(0), expected)
    bright = np.asarray(source.stored(0).values) > 125
    assert (bright & sample.mask).sum() >= 195


@pytest.mark.parametrize(("orientation", "shape"), [(3, (40, 60)), (2, (40, 60)), (6, (60, 60))])
def test_a_mask_whose_shape_cannot_tell_how_it_lies_is_left_out_and_said(
    tmp_path, orientation, shape
):
    mask = np.zeros(shape, bool)
    mask[3:9, 4:20] = True
    source = photographed(tmp_path, orientation, mask, shape=shape)
    assert source.read(0).mask is None
    with pytest.raises(UserError, match=rf"a_mask\.png: its image is turned.*\(={orientation}\)"):
        source.read_mask(0)
    np.testing.assert_array_equal(
        photographed(tmp_path, orientation, mask, shape=shape, tagged=True).read(0).mask,
        upright(orientation, mask),
    )


def test_an_image_without_a_tag_has_its_mask_as_it_is(tmp_path):
    np.testing.assert_array_equal(photographed(tmp_path, 1, SPOT).read(0).mask, SPOT)
