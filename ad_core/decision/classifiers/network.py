"""The network behind `FullSensitivityClassifier`."""

import flax.linen as nn
from jaxtyping import Array, Float


class ScoreNetwork(nn.Module):
    """A perceptron from a standardised row of statistics to one logit, rising with abnormality."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, table: Float[Array, "n k"]) -> Float[Array, "n"]:
        """One logit per row."""
        for width in self.hidden:
            table = nn.relu(nn.Dense(width)(table))
        return nn.Dense(1)(table)[:, 0]
