"""The parallel-beam Radon transform: line sums of an image, as a tomograph measures them."""

import numpy as np
from jaxtyping import Float


def project(
    image: Float[np.ndarray, "n n"], *, views: int, bins: int
) -> Float[np.ndarray, "views bins"]:
    """Line sums along `views` directions evenly over 180 degrees, starting at 0.

    View k looks along the angle 180 k / views degrees; view 0 sums columns. A pixel's value is
    shared between the two bins whose centres lie next to its projection, by distance: each view
    sums to the image's sum, and a pixel reaches no further bin. Pixels over half as wide as a bin
    are split first, or a slanted grid of them would beat with the bins.
    Follows `skimage.transform.radon` in sign and order of angles, but turned (a view is a row)
    and about the true centre (n - 1) / 2 also where n is even.

    Args:
        image: what lies outside the inscribed circle may fall off the row of bins.
        bins: together as wide as the image.
    """
    split = max(1, -(-2 * bins // image.shape[0]))
    image = np.repeat(np.repeat(image, split, axis=0), split, axis=1) / split**2
    side = image.shape[0]
    row, column = np.nonzero(image)
    value = image[row, column].astype(np.float64)
    scale, middle = bins / side, (side - 1) / 2
    x, y = (column - middle) * scale, (row - middle) * scale
    margin = bins  # on both sides, for corners
    sums = np.empty((views, bins))
    for view, angle in enumerate(np.arange(views) * (np.pi / views)):
        place = x * np.cos(angle) - y * np.sin(angle) + ((bins - 1) / 2 + margin)
        low = place.astype(np.int64)
        upper = (place - low) * value
        line = np.bincount(low, value - upper, 3 * bins)
        line[1:] += np.bincount(low, upper, 3 * bins)[:-1]
        sums[view] = line[margin : margin + bins]
    return sums
