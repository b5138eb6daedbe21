"""The main job from end to end: trains, calibrates, evaluates; goes on where it stopped."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from ml_collections import ConfigDict

from ad_core.runtime import processes
from ad_core.runtime.compilation import compilation_cache
from ad_core.runtime.lock import exclusive
from ad_core.runtime.memo import memoised
from ad_core.runtime.progress import quiet
from ad_core.runtime.stop import stop_on_signals
from ad_core.runtime.workdir import Workdir
from ad_core.stages.calibrate import recalibrate, review_lowest, run_calibration
from ad_core.stages.evaluate import run_evaluation
from ad_core.stages.finished import (
    announce_finished,
    is_finished,
    mark_command,
    mark_finished,
)
from ad_core.stages.job import Job, prepare
from ad_core.stages.messages import (
    announce,
    announce_calibration,
    announce_lowest,
    announce_removed,
    announce_results,
)
from ad_core.stages.train import run_training

STAGES = ("train", "calibrate", "evaluate")


def run_main_job(config: ConfigDict, workdir: Path, *, until: str, argv: Sequence[str]) -> None:
    """Runs the stages up to `until` that are not finished.

    Args:
        argv: the command line, which is remembered: given again it has nothing to do.
    """
    compilation_cache()
    if processes.count() > 1:
        train_together(config, workdir)
        if until == "train" or not processes.is_first():
            return
        processes.go_on_alone()
    with exclusive(workdir), stop_on_signals(at_once=True) as stop:
        job = prepare(config, workdir, stop)
        announce(job)
        if until != "train" and is_finished(job.workdir, until):
            announce_finished(job.workdir, until)
        else:
            _run(job, until)
        if until != "train":
            mark_command(job.workdir, argv, until)


def train_together(config: ConfigDict, workdir: Path) -> None:
    """Trains by several processes, and parts them.

    The first holds the workdir and writes to it. The others find the same images and splits, with a
    folder that is thrown away for what they would write.
    """
    with ExitStack() as held:
        stop = held.enter_context(stop_on_signals(at_once=True))
        if processes.is_first():
            held.enter_context(exclusive(workdir))
            job = prepare(config, workdir, stop)
            announce(job)
        else:
            held.enter_context(quiet())
            own = held.enter_context(TemporaryDirectory(prefix="zfn-ad-"))
            job = prepare(config, Path(own), stop)._replace(workdir=Workdir(workdir))
        processes.meet("prepared")
        if not processes.from_first(is_finished(job.workdir, "calibrate")):
            run_training(job)
        processes.meet("trained")
        processes.part()


def _run(job: Job, until: str) -> None:
    if not is_finished(job.workdir, "calibrate"):
        with memoised():
            learnt = run_training(job)
            if until == "train":
                return
            announce_calibration(job, run_calibration(job, learnt))
        mark_finished(job.workdir, "calibrate")
    if until == "evaluate":
        run_last_stage(job)


def run_last_stage(job: Job) -> None:
    """Renews WORKDIR/results.json and WORKDIR/report."""
    announce_results(job, run_evaluation(job))
    mark_finished(job.workdir, "evaluate")


def run_calibration_again(
    config: ConfigDict, workdir: Path, *, leave_out: str = "", who: str = "", why: str = ""
) -> None:
    """Renews WORKDIR/detector; only the section `decision` may differ from before.

    Args:
        leave_out: an image that calibrates no more from now on; logged with `who` and `why`.
    """
    with exclusive(workdir), stop_on_signals(at_once=True) as stop:
        job = prepare(config, workdir, stop, free=("decision",))
        had_results = job.workdir.results.exists()
        announce_calibration(job, recalibrate(job, leave_out=leave_out, who=who, why=why))
        mark_finished(job.workdir, "calibrate")
        if had_results:
            announce_removed(job)


def review_calibration(workdir: Path) -> None:
    """Names the abnormal images that set the price, and those that were left out."""
    with exclusive(workdir):
        announce_lowest(*review_lowest(workdir))


def run_evaluation_again(config: ConfigDict, workdir: Path) -> None:
    """Renews WORKDIR/results.json and WORKDIR/report by the detector that is there."""
    compilation_cache()
    with exclusive(workdir), stop_on_signals(at_once=True) as stop:
        run_last_stage(prepare(config, workdir, stop))
