"""Labels of two classes, as a classifier of normal and abnormal rows takes them."""

from typing import Any

import numpy as np
from jaxtyping import Int
from sklearn.utils.multiclass import check_classification_targets

from ad_core.errors import UserError


def two_classes(kinds: Any) -> tuple[np.ndarray, Int[np.ndarray, "n"]]:
    """The two classes in order, and each row's label: 0 for the first, 1 for the second.

    Raises:
        UserError: another number of classes.
    """
    check_classification_targets(kinds)
    classes, labels = np.unique(kinds, return_inverse=True)
    if classes.size != 2:
        raise UserError(
            "Only binary classification is supported: the labels must hold two classes; found "
            f"{classes.size} class{'' if classes.size == 1 else 'es'}."
        )
    return classes, labels
