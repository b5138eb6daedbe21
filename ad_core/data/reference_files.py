"""Files that state a reference, and what of them a configuration carries."""

from pathlib import Path

from ml_collections import ConfigDict

from ad_core.data.formats.image import SETTINGS, UNFIXED, read_image
from ad_core.data.reference import TEXT, reference_text
from ad_core.errors import UserError


def settle_reference(data: ConfigDict) -> str:
    """`data.reference` as a configuration carries it: a small picture of the file that it names.

    What is settled stays; "" is no registration.

    Raises:
        UserError: no such file, or one that cannot be read as the images are.
    """
    named = str(data.reference)
    if not named or named.startswith(TEXT):
        return named
    if not Path(named).is_file():
        raise UserError(f"`data.reference` (={named}) must name the file of an image.")
    options = {name: data[name] for name in SETTINGS}
    stated = options["value_range"]
    options |= {"reference": "", "region": "", "value_range": stated or UNFIXED}
    return reference_text(read_image(named, size=data.image_size, **options).image)
