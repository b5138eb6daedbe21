"""Inspection of a data set: counts, findings, pictures to look at."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.formats.intensity import is_robust, settle_range
from ad_core.data.formats.resizing import mask_to_network
from ad_core.data.likeness import group_alike
from ad_core.data.source import NORMAL, open_source, printable
from ad_core.data.splits import make_splits
from ad_core.errors import UserError
from ad_core.inspection.facts import Facts, learn_facts
from ad_core.inspection.findings import (
    CYCLEGAN_AD,
    NOTE,
    UNUSABLE,
    WARNING,
    Finding,
    Subject,
    find_all,
)
from ad_core.runtime.methods import learns_from_abnormal, learns_in_one_pass, with_share
from ad_core.runtime.sealed import mark_own, write_json

DISTANCE = 4  # bits of near-duplicates, where the configuration does not say
STATUS = {UNUSABLE: 2, WARNING: 3, NOTE: 0}
Cell = tuple[int, int]


class Inspection(NamedTuple):
    """Inspection of the data that a configuration describes. findings: foremost first."""

    name: str
    subject: Subject
    findings: list[Finding]

    @property
    def status(self) -> int:
        """Exit status: 0, 3 with warnings, 2 when the set cannot be used."""
        return max((STATUS[f.level] for f in self.findings), key=(0, 3, 2).index, default=0)

    @property
    def splits(self) -> list[str]:
        """Names of the splits in which images lie; "" for images in none."""
        order = ("train", "calibration", "pool", "test", "")
        return [name for name in order if name in self.subject.split]

    @property
    def counts(self) -> dict[str, dict[str, Cell]]:
        """Class -> split -> (images, groups); normal first."""
        images: Counter[tuple[str, str]] = Counter()
        groups: dict[tuple[str, str], set[str]] = {}
        for record, split in zip(self.subject.records, self.subject.split, strict=True):
            images[record.defect, split] += 1
            groups.setdefault((record.defect, split), set()).add(record.group)
        defects = sorted({defect for defect, _ in images}, key=lambda name: (name != NORMAL, name))
        return {
            defect: {
                split: (images[defect, split], len(groups.get((defect, split), ())))
                for split in self.splits
            }
            for defect in defects
        }

    @property
    def lines(self) -> list[str]:
        """Overrides that suit, one for each key."""
        by_key: dict[str, str] = {}
        for finding in self.findings:
            for mend in finding.mends:
                by_key.setdefault(mend.partition("=")[0], mend)
        return list(by_key.values())

    def thumbnail(self, index: int) -> tuple[Float[np.ndarray, "h w c"], Bool[np.ndarray, "h w"]]:
        """An image and where it is said to be abnormal. Raises UserError if it cannot be read."""
        image, mask, placement, *_ = self.subject.source.read(index)
        nowhere = np.zeros(image.shape[:2], bool)
        return image, nowhere if mask is None else mask_to_network(mask, placement)


def inspect(config: ConfigDict) -> Inspection:
    """Reads every image and mask of `config.data` and checks them.

    Raises:
        UserError: there is no such data set, or a range to be fixed that its images do not give.
    """
    source = open_source(config.data)
    if not source.records:
        raise UserError(f"`data.root` (={config.data.root}): holds no image.")
    likeness = group_alike(source, config.data)
    split, failed = _split(config, source.records)
    normal = [i for i, r in enumerate(source.records) if r.label == 0 and split[i] != "test"]
    data = ConfigDict(config.data.to_dict())
    data.value_range = settle_range(source, config.data, normal)
    facts: Facts = learn_facts(source, workers=config.data.workers)
    chosen = config.data.near_duplicates
    subject = Subject(
        source=source,
        records=source.records,
        split=split,
        facts=facts,
        data=data,
        likeness=likeness,
        stated=config.data.value_range is not None and not is_robust(config.data),
        distance=DISTANCE if chosen is None else int(chosen),
    )
    return Inspection(str(config.name), subject, failed + find_all(subject))


def write_findings(path: Path, inspection: Inspection) -> None:
    """Writes everything but the pictures as JSON; its folder is marked as no input."""
    facts, seen = inspection.subject.facts, inspection.subject.facts.readable
    size = facts.size[seen]
    content: dict[str, Any] = {
        "name": inspection.name,
        "status": inspection.status,
        "images": len(inspection.subject.records),
        "groups": len({record.group for record in inspection.subject.records}),
        "counts": {
            printable(name): {split or "none": list(cell) for split, cell in cells.items()}
            for name, cells in inspection.counts.items()
        },
        "smallest": size.min(axis=0).tolist() if len(size) else None,
        "largest": size.max(axis=0).tolist() if len(size) else None,
        "channels": _counted(facts.channels[seen]),
        "bits": _counted(facts.bits[seen]),
        "findings": [
            finding._asdict() | {"paths": [[printable(p) for p in row] for row in finding.paths]}
            for finding in inspection.findings
        ],
        "lines": inspection.lines,
    }
    mark_own(path.parent, (path.name, "index.html"))
    write_json(path, content)


def _split(config: ConfigDict, records: Any) -> tuple[list[str], list[Finding]]:
    """The split of each image; where there is none, the folder on disk and why."""
    try:
        splits = make_splits(
            records,
            protocol=config.data.protocol,
            calibration=with_share(config).data.calibration,
            seed=config.seed,
            train_abnormal=learns_from_abnormal(config),
            cross_fitted=learns_in_one_pass(config),
        )
    except UserError as error:
        mends = () if config.data.protocol == "cyclegan_ad" else (CYCLEGAN_AD,)
        found = Finding(UNUSABLE, "splits", f"no splits can be made: {error}", mends=mends)
        return [record.folder for record in records], [found]
    names = [""] * len(records)
    for name, indices in splits.items():
        for index in indices.tolist():
            names[index] = name
    return names, []


def _counted(values: np.ndarray) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values.tolist()).items())}
