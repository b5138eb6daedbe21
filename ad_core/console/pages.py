"""Pages of the console: the routes of its screens, for people who are logged in."""

from pathlib import Path

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ad_core.console.line import Line
from ad_core.console.nearest import NormalPictures
from ad_core.console.pages_health import Health
from ad_core.console.pages_history import History
from ad_core.console.pages_inspect import Inspect
from ad_core.console.pages_queue import Queue
from ad_core.console.pages_recalibrate import Recalibrate
from ad_core.console.pages_render import STATIC
from ad_core.console.promise import REPEATS
from ad_core.console.sampling import SHARE, Sampling
from ad_core.console.security import guarded
from ad_core.console.store import Store
from ad_core.console.users import LEAD, WORKER


def routes(
    line: Line,
    store: Store,
    *,
    audit_share: float = SHARE,
    repeat_share: float = REPEATS,
    calibration_images: Path | None = None,
) -> list[BaseRoute]:
    """Routes of the screens, and of the style sheet and program that they share.

    Args:
        audit_share: of all parts, drawn for the blind audit. repeat_share: of the judged images,
            shown to a second person. calibration_images: folder in which they lie now; None:
            where they lay when the detector was calibrated.

    Raises:
        UserError: a share beyond [0, 1], the secret of the samples cannot be kept, or the folder
            holds none of the images.
    """
    pictures = NormalPictures(calibration_images)
    if calibration_images is not None:
        loaded = line.loaded
        pictures.check(loaded.detector.parts, loaded.nearest.paths if loaded.nearest else ())
    sampling = Sampling(store, share=audit_share, repeats=repeat_share)
    sampling.draw()  # what was scored before the console was there
    # The coin is noted at once, before anybody can see the image.
    line.watchers.append(lambda verdict, by: sampling.draw())
    line.blinds.append(sampling.hides)
    queue = Queue(line, sampling)
    inspect = Inspect(line, sampling, queue, pictures)
    recalibrate, history = Recalibrate(line, sampling), History(store, sampling)
    worker, lead = guarded(WORKER), guarded(LEAD)
    proposal = "/recalibrate/{seq:int}"
    return [
        Route("/", worker(queue.show), methods=["GET"]),
        Route("/next", worker(queue.next), methods=["GET"]),
        Route("/undo", worker(inspect.undo), methods=["POST"]),
        Route("/inspect/{sha}", worker(inspect.show), methods=["GET"]),
        Route("/inspect/{sha}", worker(inspect.judge), methods=["POST"]),
        Route("/nearest/{sha}", worker(inspect.nearest), methods=["GET"]),
        Route("/recalibrate", worker(recalibrate.show), methods=["GET"]),
        Route("/recalibrate", lead(recalibrate.propose), methods=["POST"]),
        Route("/recalibrate/back", lead(recalibrate.back), methods=["POST"]),
        Route(f"{proposal}/confirm", lead(recalibrate.confirm), methods=["POST"]),
        Route(f"{proposal}/decline", lead(recalibrate.decline), methods=["POST"]),
        Route("/history", worker(history.show), methods=["GET"]),
        Route("/history.csv", lead(history.export), methods=["GET"]),
        Route("/history/check", worker(history.check), methods=["GET"]),
        Route("/health", worker(Health(line, sampling).show), methods=["GET"]),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]
