"""Ledoit and Wolf's covariance from one pass: sums of powers instead of all rows."""

import numpy as np
from jaxtyping import Float, Float64


class PowerSums:
    """Sums over rows that Ledoit and Wolf's estimate needs, in float64.

    Rows are taken from the mean of the first ones, so that no large sums are subtracted. It holds
    d (d + 3) numbers, however many rows there are.
    """

    def __init__(self):
        self.count = 0
        self._origin = np.zeros(0)
        self._first = np.zeros(0)  # sum of x
        self._second = np.zeros((0, 0))  # of x x'
        self._third = np.zeros(0)  # of |x|^2 x
        self._fourth = 0.0  # of |x|^4

    def add(self, rows: Float[np.ndarray, "n d"]) -> None:
        """Takes in further rows."""
        if not len(rows):
            return
        if not self.count:
            d = rows.shape[1]
            self._origin = rows.mean(axis=0, dtype=np.float64)
            self._first, self._third, self._second = np.zeros(d), np.zeros(d), np.zeros((d, d))
        x = rows - self._origin
        square = np.sum(x**2, axis=1)
        self.count += len(x)
        self._first += x.sum(axis=0)
        self._second += x.T @ x
        self._third += square @ x
        self._fourth += float(np.sum(square**2))

    def mean(self) -> Float64[np.ndarray, " d"]:
        """Mean of all rows; at least one was added."""
        return self._origin + self._first / self.count

    def covariance(self) -> tuple[Float64[np.ndarray, "d d"], float]:
        """(1 - s) S + s m I and s: S has divisor n, m is its mean variance.

        Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
        matrices"; the same numbers as scikit-learn's LedoitWolf.
        """
        n, d = self.count, len(self._first)
        centre = self._first / n
        sample = self._second / n - np.outer(centre, centre)
        m = float(np.trace(sample)) / d
        squared = float(np.sum(sample**2))
        dispersion = (squared - d * m**2) / d
        error = min((self._fourth_centred(centre) / n - squared) / (d * n), dispersion)
        s = error / dispersion if error > 0 else 0.0
        return (1.0 - s) * sample + s * m * np.eye(d), s

    def _fourth_centred(self, c: Float64[np.ndarray, " d"]) -> float:
        """Sum of |x - c|^4 from the sums of powers, c the mean."""
        n, size = self.count, float(c @ c)
        across = 4.0 * float(c @ self._second @ c)
        mixed = 2.0 * size * float(np.trace(self._second)) - 4.0 * float(self._third @ c)
        return self._fourth + across + mixed - 4.0 * n * size**2 + n * size**2


def whiten(covariance: Float64[np.ndarray, "d d"], *, floor: float) -> Float[np.ndarray, "d d"]:
    """W with |W (x - mean)|^2 the squared Mahalanobis distance; `floor` times the mean variance
    is added to every variance, so that channels which are dead among normals do not explode.
    """
    d = len(covariance)
    m = float(np.trace(covariance)) / d or 1.0  # without any variance
    return np.linalg.inv(np.linalg.cholesky(covariance + floor * m * np.eye(d))).astype(np.float32)
