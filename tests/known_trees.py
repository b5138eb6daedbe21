"""Published sets in miniature: the folders and names of the originals, tiny drawn images."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 32


def scene(seed, *, channels=1, side=SIDE):
    """A smooth random picture, 8 bits; another seed gives quite another one."""
    noise = np.random.default_rng(seed).standard_normal((channels, side, side))
    field = np.stack([gaussian_filter(band, 3) for band in noise], axis=-1)
    field = (field - field.min()) / np.ptp(field)
    return np.uint8(255 * field).squeeze()


def draw(path, seed, *, channels=1, side=SIDE):
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(scene(seed, channels=channels, side=side)).save(path, **quality)


def mask(path, box, *, side=SIDE):
    path.parent.mkdir(parents=True, exist_ok=True)
    top, left, bottom, right = box
    drawn = np.zeros((side, side), np.uint8)
    drawn[top:bottom, left:right] = 255
    Image.fromarray(drawn).save(path)


def retina_oct(root: Path) -> Path:
    """OCT2017: a patient with two scans in each folder; patient 300 is normal in one eye."""
    seed = 0
    for folder, per_class in (("train", 3), ("test", 2), ("val", 1)):
        for number, name in enumerate(("CNV", "DME", "DRUSEN", "NORMAL")):
            for patient in range(per_class * (3 if name == "NORMAL" else 1)):
                code = 1_000_000 + 10_000 * len(folder) + 100 * number + patient
                for scan in (1, 2):
                    path = root / f"OCT2017/{folder}/{name}/{name}-{code}-{scan}.jpeg"
                    draw(path, seed := seed + 1)
    for name in ("CNV", "NORMAL"):
        draw(root / f"OCT2017/train/{name}/{name}-300-1.jpeg", seed := seed + 1)
    return root / "OCT2017"


def brain_mri(root: Path) -> Path:
    """The Kaggle archive, in which every image lies twice."""
    normal = ["1 no.jpeg", "No11.jpg", "N19.JPG", "no 2.jpg", "5 no.jpg", "no 9.png", "N1.JPG"]
    names = [f"no/{n}" for n in (*normal, *(f"no {n}.jpg" for n in range(89, 100)))]
    names += [f"yes/Y{n}.jpg" for n in (*range(1, 12), 248)] + ["yes/Y50.JPG", "yes/Y7.png"]
    for seed, name in enumerate(sorted(names)):
        draw(root / name, seed, channels=3 if name == "yes/Y1.jpg" else 1)
        draw(root / "brain_tumor_dataset" / name, seed)
    return root


def breast_ultrasound(root: Path) -> Path:
    """BUSI: masks beside the images, two of benign (4), three of benign (100)."""
    top = root / "Dataset_BUSI_with_GT"
    numbers = {"benign": (1, 2, 3, 4, 100), "malignant": (1, 2, 3, 4, 5, 6)}
    numbers["normal"] = tuple(range(1, 19))
    seed = 0
    for name, own in numbers.items():
        for number in own:
            stem = f"{name} ({number})"
            draw(top / name / f"{stem}.png", seed := seed + 1)
            box = (0, 0, 0, 0) if name == "normal" else (4, 4, 10, 12)
            mask(top / name / f"{stem}_mask.png", box)
    mask(top / "benign/benign (4)_mask_1.png", (20, 20, 26, 24))
    mask(top / "benign/benign (100)_mask_1.png", (20, 2, 26, 6))
    mask(top / "benign/benign (100)_mask_2.png", (0, 26, 4, 30))
    return top


def mvtec_ad(root: Path) -> Path:
    """One category; the archive holds a licence and a readme in each."""
    top = root / "bottle"
    seed = 0
    for number in range(20):
        draw(top / f"train/good/{number:03d}.png", seed := seed + 1, channels=3)
    for defect, count in (("good", 4), ("broken_large", 4), ("broken_small", 3)):
        for number in range(count):
            draw(top / f"test/{defect}/{number:03d}.png", seed := seed + 1, channels=3)
            if defect != "good":
                path = top / f"ground_truth/{defect}/{number:03d}_mask.png"
                mask(path, (number, 3, number + 9, 14))
    for name in ("license.txt", "readme.txt"):
        (top / name).write_text("")
    return top


def pcba(root: Path) -> Path:
    """Two families of boards, two views of each."""
    top = root / "boards"
    seed = 0
    for family in ("amplifier", "relay"):
        for part in range(9):
            for view in ("top", "bottom"):
                path = top / f"{family}/good/sn{part:04d}/{view}.png"
                draw(path, seed := seed + 1, channels=3)
        for part in range(4):
            for view in ("top", "bottom"):
                path = top / f"{family}/missing/sn{100 + part}/{view}.png"
                draw(path, seed := seed + 1, channels=3)
        mask(top / f"{family}/ground_truth/missing/sn100/top_mask.png", (8, 8, 14, 20))
    return top
