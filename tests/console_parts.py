"""Parts of a made-up line, a detector of them, and a console around it."""

import io

import numpy as np
from PIL import Image

from ad_core.console.app import Settings, create_app
from ad_core.console.line import Line
from ad_core.console.pages import routes
from ad_core.console.store import Store
from ad_core.console.users import ADMIN, LEAD, WORKER
from ad_core.estimator import AnomalyDetector
from ad_core.scoring.files import load_parts
from ad_core.scoring.files import save_detector as write

PASSWORD = "a long pass phrase"
PEOPLE = {"Ada": ADMIN, "Wim": WORKER, "Wes": WORKER, "Lea": LEAD, "Lou": LEAD}
SIDE = 64


def part(seed, *, contrast=0.0):
    """Pixels of a turned disc; contrast: of a scratch in it, 0 for none."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    radius = np.hypot(x, y)
    rings = 150 + 18 * np.cos(radius * 0.9) * (radius < 26)
    pixels = np.where(radius < 28, rings, 60) + rng.normal(0, 5, (SIDE, SIDE))
    angle, away = rng.uniform(0, np.pi), rng.uniform(-10, 10)
    across = x * np.cos(angle) + y * np.sin(angle) - away
    along = -x * np.sin(angle) + y * np.cos(angle)
    scratch = (np.abs(across) < 1.6) & (np.abs(along) < 9)
    return np.clip(pixels - 110 * contrast * scratch, 0, 255).astype(np.uint8)


def png(seed, *, contrast=0.0):
    """The file of a part."""
    stream = io.BytesIO()
    Image.fromarray(part(seed, contrast=contrast)).save(stream, format="PNG")
    return stream.getvalue()


def save_detector(folder, *, defects=12):
    """A detector that learnt from parts whose pictures lie beside it, some of them scratched."""
    images = folder / "images"
    contrasts = [0.0] * 40 + np.linspace(0.45, 1.0, defects).tolist()
    names = []
    for place, contrast in enumerate(contrasts):
        kind = "train/scratch" if contrast else "train/good"
        names.append(f"{kind}/{place:02d}.png")
        (images / kind).mkdir(parents=True, exist_ok=True)
        (images / names[-1]).write_bytes(png(place, contrast=contrast))
    chosen = {"method": "tests.toys.flat", "size": "cpu", "image_size": SIDE, "channels": 1}
    overrides = {"decision.folds": 2, "data.calibration.folds": 2, "score.batch_size": 8}
    overrides["statistics.names"] = ("loss_distance", "loss_distance_map_top_05")
    detector = AnomalyDetector(**chosen, classifier="logistic_regression", overrides=overrides)
    read = [np.asarray(Image.open(images / name)) for name in names]
    detector.fit(read, [int(contrast > 0) for contrast in contrasts]).save(folder / "in_memory")
    return _of_folder(folder, images, names)


def _of_folder(folder, images, names):
    """The same detector as if it had been trained on the folder."""
    parts = load_parts(folder / "in_memory")
    with parts.config.unlocked():
        parts.config.data.source, parts.config.data.root = (
            "ad_core.data.layouts.folder",
            str(images),
        )
    known = parts.facts["scored"]
    numbers = [int(path.split()[-1]) for path in known["path"]]
    kept = known | {"path": [names[number] for number in numbers]}
    write(folder / "detector", parts._replace(facts=parts.facts | {"scored": kept}), versions={})
    return folder / "detector"


class Console:
    """A store, a line and the application around it, with PEOPLE who may log in."""

    def __init__(self, root, detector, *, origin, **shares):
        self.store = Store(root)
        self.line = Line(detector, self.store)
        pages = routes(self.line, self.store, **shares)
        self.app = create_app(Settings(origins=(origin,)), self.line, pages)
        users = self.app.state.users
        first, *others = PEOPLE
        users.set_up(users.set_up_code(), first, PASSWORD)
        for name in others:
            users.add(name, PASSWORD, PEOPLE[name], by=first)

    def send(self, seed, *, contrast=0.0):
        """The answer of the line on a part."""
        return self.line.score(png(seed, contrast=contrast), f"part_{seed:03d}.png", "http")

    def close(self):
        """Ends the line and lets the store go."""
        self.line.stop()
        self.store.close()
