"""Messages of the launch scripts to the person at the terminal."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from ad_core.data.shape import image_shape
from ad_core.data.source import printable
from ad_core.decision.calibration import Calibration
from ad_core.decision.left_out import LeftOut
from ad_core.inspection.inspect import Inspection
from ad_core.reporting.results import price_in_words, review_in_words
from ad_core.reporting.worth import worth
from ad_core.runtime.invocation import script
from ad_core.stages.folds import count_learnt
from ad_core.stages.job import Job, count_classes, make_methods
from ad_core.stages.readable import told_unreadable


def announce(job: Job) -> None:
    """Prints what is about to be done, on which images and devices."""
    config, devices = job.config, jax.local_devices()
    print(f"{config.name}: {config.method}, {config.size} size, seed {config.seed}")
    for split, counts in count_classes(job).items():
        print(f"  {split:12} {counts['normal']} normal, {counts['abnormal']} abnormal images")
    methods = {name: method for name, (method, _) in make_methods(config).items()}
    for name, of in count_learnt(job, methods).items():
        if of["folds"]:
            print(
                f"  {name} learns from {of['normal']} normal, {of['abnormal']} abnormal images; "
                f"those that calibrate are left out in turn, in {of['folds']} folds"
            )
    ignored = getattr(job.source, "ignored", ())
    if ignored:
        told = ", ".join(map(printable, ignored[:3])) + ", ..." * (len(ignored) > 3)
        print(f"  not used: {len(ignored)} files or folders beside the images ({told})")
    height, width, _ = image_shape(config.data)
    if height != width:
        print(f"  images are seen at {height} x {width} px, height x width")
    if config.data.value_range is not None:
        low, high = map(float, config.data.value_range)
        print(f"  stored values {low:g} to {high:g} become black to white, in every image")
    for line in job.likeness.words:
        print(line if line.startswith("warning") else f"  {line}")
    for line in told_unreadable(job.left_out):
        print(line)
    if not len(job.splits[job.judging_split]):
        print("  no test images: the run ends after calibration, and nothing judges the detector")
    print(f"  on {len(devices)} x {devices[0].device_kind}, writing to {job.workdir.root}")
    if config.size == "accelerator" and devices[0].platform == "cpu":
        print(
            "warning: this configuration is sized for an accelerator and none was found; it "
            "takes days on a CPU. Add `cpu` to the variant: --config=configs/NAME.py:cpu."
        )


def announce_calibration(job: Job, calibration: Calibration) -> None:
    """Prints the classifier, the thresholds, and what the deciding one promises."""
    print(f"classifier: {calibration.name}{_chosen(calibration)}")
    for rule, threshold in calibration.thresholds.items():
        print(f"  {rule:16} flags from {threshold.value:.4f}")
    for line in refused_in_words(calibration.refused):
        print(line)
    deciding = calibration.thresholds[calibration.rule]
    if made_up := calibration.facts["synthetic"]:
        print(f"{made_up['statement']}.")
    if reason := calibration.facts["reason"]:
        print(f"{reason}.")
    if deciding.guarantee is not None:
        print(f"{deciding.rule} decides: {deciding.guarantee['statement']}")
    if review := job.config.decision.review:
        upper = calibration.thresholds[review].value
        if upper > deciding.value:
            print(f"a person looks at scores from {deciding.value:.4f} to {upper:.4f} ({review})")
        else:
            print(
                f"no image is left to a person: the threshold of {review} lies no higher than "
                f"that of {deciding.rule}"
            )
    if maps := calibration.facts.get("maps"):
        print(maps)
    print(f"detector: {job.workdir.detector}")


def refused_in_words(refused: Mapping[str, str]) -> list[str]:
    """Lines on the rules that are not available; rules that lack the same share one."""
    shared: dict[str, list[str]] = {}
    for rule, reason in refused.items():
        shared.setdefault(reason.replace(f"Rule {rule!r}", "Each"), []).append(rule)
    return [
        f"  {rules[0]:16} not available: {refused[rules[0]]}"
        if len(rules) == 1
        else f"  {', '.join(rules)} are not available. {reason}"
        for reason, rules in shared.items()
    ]


def announce_lowest(lowest: Sequence[Mapping[str, Any]], left_out: Sequence[LeftOut]) -> None:
    """Prints the abnormal images that set the price, and how to leave one out."""
    print(
        "abnormal calibration images with the lowest scores; look whether each is labelled right:"
    )
    for one in lowest:
        print(f"  {one['score']:.4f}  {one['defect']}  {one['path']}")
    for entry in left_out:
        print(f"  {entry}")
    print("to leave one out: add --leave_out=IMAGE --who=NAME --why=REASON instead of --review")


def _chosen(calibration: Calibration) -> str:
    selection = calibration.selection
    if selection is None:
        return ""
    return (
        f", chosen among {', '.join(selection.inside)} by {selection.criterion}: "
        f"{selection.inside[selection.name]:.3f} in the folds that chose, "
        f"{selection.outside:.3f} in folds that did not"
    )


def announce_results(job: Job, results: Mapping[str, Any]) -> None:
    """Prints the held-out figures of the deciding rule, and the path of the report."""
    if results["judged_on"]:
        _announce_figures(job, results)
    print(worth(results))
    print(f"results: {job.workdir.results}")
    print(f"report:  {job.workdir.report}")


def _announce_figures(job: Job, results: Mapping[str, Any]) -> None:
    oracle, held = results["oracle"], results["held_out"][results["rule"]]
    print(f"AUC {oracle['auc']:.4f}" if oracle else "AUC: the test split lacks a class")
    print(
        f"{results['rule']} on the {results['judged_on']} split: {held['fn']} of "
        f"{held['tp'] + held['fn']} abnormal images pass, "
        f"{held['fp']} of {held['fp'] + held['tn']} normal images are inspected in vain"
    )
    if held["operation"]:
        grouped = held.get("groups")
        print(price_in_words(held["operation"], noun="image" if grouped else "part"))
        if grouped:
            words = price_in_words(grouped["operation"], noun="group")
            print(f"each group counted once, as in the bounds: {words}")
    if results["review"]:
        print(review_in_words(results["review"]))
    full, unread = (results["counts"][name] for name in ("full_masks", "unreadable_masks"))
    if full:
        print(
            f"warning: {full} masks mark nearly all of their image as abnormal; the pixel figures "
            "are of these. Inverted, or a background that is not black?"
        )
    if unread:
        print(
            f"warning: {unread} masks are left out of the pixel figures; launch/inspect_data.py "
            "says why"
        )


def announce_removed(job: Job) -> None:
    """Prints that the figures of the former detector are gone, and how to have new ones."""
    evaluate = f"{script('evaluate')} --workdir={shlex.quote(str(job.workdir.root))}"
    print("results.json and report/ were of the detector before this one and are removed.")
    print(f"New ones: {evaluate}")


def announce_inspection(inspection: Inspection, page: Path, command: str) -> None:
    """Prints counts, findings with their first images, and the command that suits."""
    names = inspection.splits
    width = max(12, *(len(defect) for defect in inspection.counts))
    print(f"{inspection.name}: {len(inspection.subject.records)} images (groups in brackets)")
    print("  " + " " * width + "".join(f"{name or 'no split':>16}" for name in names))
    for defect, cells in inspection.counts.items():
        told = (f"{images} ({groups})" for images, groups in (cells[name] for name in names))
        print(f"  {printable(defect):{width}}" + "".join(f"{cell:>16}" for cell in told))
    for finding in inspection.findings:
        print(f"{finding.level}: {finding.name}: {printable(finding.text)}")
        for row in finding.paths[:3]:
            print(f"    {printable(' | '.join(row))}")
    for line in inspection.lines:
        print(f"suits: {line}")
    print(f"page: {page}")
    if inspection.status != 2:
        print("train on these images, with all that suits:")
        print(f"  {command}")


def announce_shards(output: Path, counts: Mapping[str, int]) -> None:
    """Prints how many shards of a lot are finished, and what to do once all are."""
    finished, shards, skipped = (counts[name] for name in ("finished", "shards", "skipped"))
    print(f"{finished} of {shards} shards are finished in {output}")
    if skipped:
        print(f"{skipped} of those asked for were finished before")
    if finished == shards:
        print("All are: the same command with --merge, without --shard, makes the tables")


def announce_scores(output: Path, summary: Mapping[str, Any]) -> None:
    """Prints counts and speed of a batch scoring."""
    counts = summary["counts"]
    noun = "image" if counts["images"] == 1 else "images"
    print(
        f"{counts['images']} {noun}: {counts['normal']} normal, {counts['inspect']} to inspect, "
        f"{counts['error']} of them unreadable; {summary['images_per_s']:.1f} images/s"
    )
    if left_out := summary["left_out"]:
        few = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        print(f"{len(left_out)} files are no images and were left out: {few}")
    if counts["without_map"]:
        print(f"{counts['without_map']} maps could not be written; the column `error` says why")
    if summary["resumed"]:
        print(f"{summary['resumed']} of them had their rows before this command went on")
    if summary["clipped"]["beyond"]:
        print(f"{summary['clipped']['beyond']} of those to inspect are clipped more than normals")
    if counts["person"]:
        print(f"{counts['person']} of those to inspect are doubtful and wait for a person")
    print(f"{'warning: ' * bool(summary['drift']['drifted'])}{summary['drift']['statement']}")
    print(f"scores: {output / 'scores.csv'}")
