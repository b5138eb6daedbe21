"""The main job and scoring by tiles, of files of many sizes at their own resolution."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

SIDE = 96


@pytest.fixture
def strips(tmp_path):
    """Grey files of many sizes, some larger than the network's image; abnormal ones have a spot."""
    rng = np.random.default_rng(3)
    root = tmp_path / "strips"
    spots = {}
    for number in range(60):
        size = int(rng.integers(60, 120)), int(rng.integers(40, 260))
        image = rng.normal(120, 6, size)
        folder, defect = (
            ("test" if number % 2 else "train"),
            ("spot" if number % 3 == 2 else "good"),
        )
        mask = np.zeros(size, np.uint8)
        if defect == "spot":
            y, x = (int(rng.integers(0, side - 6)) for side in size)
            image[y : y + 6, x : x + 6] += 100
            mask[y : y + 6, x : x + 6] = 255
            spots[f"{folder}/spot/{number}.png"] = (y, x)
            truth = root / f"ground_truth{'' if number % 2 else '_train'}" / "spot"
            truth.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(truth / f"{number}_mask.png")
        (root / folder / defect).mkdir(parents=True, exist_ok=True)
        pixels = image.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / folder / defect / f"{number}.png")
    return root, spots


@pytest.mark.slow
def test_small_spots_in_files_of_many_sizes_are_found_where_they_lie(
    launch, job_arguments, strips, tmp_path
):
    root, spots = strips
    config, *rest = job_arguments
    moved = ("phantom", "config.method", "reconstructor", "image_size", "level")
    argv = [
        config.replace("retina_oct.py:phantom,cpu", "folder.py:cpu"),
        *(word for word in rest if not any(part in word for part in moved)),
        "--config.method=baselines_ad.blur,vqgan_ad.vqgan", "--config.data.channels=1",
        f"--config.data.root={root}", f"--config.data.image_size={SIDE}",
        "--config.data.resize=own_size", "--config.tiling.tile=32", "--config.tiling.overlap=16",
        "--config.localisation.map=blur", "--config.localisation.position=none",
        "--config.reconstructor.vqgan.width=4", "--config.reconstructor.vqgan.latent=4",
        "--config.reconstructor.vqgan.codes=8", "--config.reconstructor.vqgan.kmeans_at=2",
        "--config.reconstructor.vqgan.disc_width=4", "--config.reconstructor.vqgan.disc_layers=1",
        "--config.reconstructor.vqgan.multipliers=(1,2)", f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert launch("train", *argv) == 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["oracle"]["auc"] > 0.9 and results["pixel"]["auroc"] > 0.9
    detector = json.loads((tmp_path / "run/detector/detector.json").read_text())
    assert "vqgan.loss_reconstruction_tile_max" in detector["statistics"]
    scored = (f"--detector={tmp_path / 'run/detector'}", f"--input={root / 'test'}")
    assert launch("score", *scored, f"--output={tmp_path / 'out'}", "--maps") == 0
    rows = pq.read_table(tmp_path / "out/scores.parquet").to_pylist()
    assert len(rows) == 30 and all(row["status"] == "ok" for row in rows)
    near = 0
    for row in rows:
        spot = spots.get(f"test/{row['path']}")
        for box in json.loads(row["regions"])[:1] if spot else []:
            middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
            near += all(abs(a - b - 3) <= 8 for a, b in zip(middle, spot, strict=True))
        with Image.open(tmp_path / f"out/maps/{row['path']}.png") as shown:
            with Image.open(root / "test" / row["path"]) as image:
                assert shown.size == image.size
    assert near >= 9  # of ten
