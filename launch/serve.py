"""Line service: images come by HTTP or in a folder, decisions go, and an audit trail stays.

    python launch/serve.py --detector=runs/mine/detector --watch=DIR

Whatever goes wrong is answered `inspect`. The audit trail is checked by --check and written as a
table by --export=FILE, also while the service runs.
"""

from pathlib import Path

from absl import flags

from ad_core.errors import UserError
from ad_core.runtime.command import run

DETECTOR = flags.DEFINE_string("detector", None, "The `detector` folder of a workdir.")
STORE = flags.DEFINE_string(
    "store",
    None,
    "Folder of the audit trail and the pictures; default, `service` beside the detector.",
)
HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at; beyond this machine only with TLS or a proxy."
)
PORT = flags.DEFINE_integer(
    "port", 8000, "Port to listen at; 0: one that is free.", lower_bound=0, upper_bound=65535
)
CERTIFICATE = flags.DEFINE_string("certificate", None, "Certificate for TLS, in PEM format.")
KEY = flags.DEFINE_string("key", None, "Private key of the certificate, in PEM format.")
BEHIND_PROXY = flags.DEFINE_bool(
    "behind_proxy", False, "A proxy on this machine encrypts, and tells who asks."
)
TRUSTED_ORIGIN = flags.DEFINE_multi_string(
    "trusted_origin", [], "Further address of the console, as https://console.example."
)
WATCH = flags.DEFINE_string(
    "watch", None, "Folder whose images are scored and moved to `normal` or `inspect` in it."
)
QUEUE = flags.DEFINE_integer(
    "queue", 16, "Images under way at most; further ones are answered inspect.", lower_bound=1
)
TIMEOUT_S = flags.DEFINE_float(
    "timeout_s", 10.0, "Seconds for an image; then it is answered inspect.", lower_bound=0.01
)
MAX_UPLOAD_MB = flags.DEFINE_integer("max_upload_mb", 64, "MiB of an image at most.", lower_bound=1)
KEEP_GB = flags.DEFINE_float(
    "keep_gb",
    20.0,
    "GiB of pictures and maps; beyond, the oldest go, those to judge last. 0: no limit.",
    lower_bound=0,
)
CALIBRATION_IMAGES = flags.DEFINE_string(
    "calibration_images",
    None,
    "Folder of the images that calibrated, for the nearest normal part on a page; default, where "
    "they lay then.",
)
AUDIT_SHARE = flags.DEFINE_float(
    "audit_share",
    0.01,
    "Share of all parts that people judge without seeing a score.",
    lower_bound=0,
    upper_bound=1,
)
REPEAT_SHARE = flags.DEFINE_float(
    "repeat_share",
    0.02,
    "Share of the judged images that a second person judges too.",
    lower_bound=0,
    upper_bound=1,
)
CHECK = flags.DEFINE_bool("check", False, "Check the audit trail of --store, and end.")
HEAD = flags.DEFINE_string(
    "head", None, "With --check: SEQ:HASH of an event that was noted earlier and must be there."
)
EXPORT = flags.DEFINE_string("export", None, "Write the audit trail of --store as CSV, and end.")
ADD_DEVICE = flags.DEFINE_string(
    "add_device", None, "Name of a new device: its token is told once, and the command ends."
)
SCOPE = flags.DEFINE_enum(
    "scope", "score", ["score", "metrics"], "With --add_device: the one thing that it may do."
)


def main(_: None) -> int | None:
    """Serves, or does what one of --check, --export and --add_device asks."""
    store = _store()
    if CHECK.value or EXPORT.value:
        from ad_core.console.trail import check_trail, export_trail

        if EXPORT.value:
            print(export_trail(store, Path(EXPORT.value)))
        return check_trail(store, head=HEAD.value or "") if CHECK.value else 0
    if ADD_DEVICE.value:
        from ad_core.console.trail import add_device

        print(add_device(store, ADD_DEVICE.value, SCOPE.value))
        return 0
    if not DETECTOR.value:
        raise UserError("`--detector` is missing; see --help.")
    from ad_core.console.service import Options, serve
    from ad_core.runtime.stop import stop_on_signals

    options = Options(
        detector=Path(DETECTOR.value),
        store=store,
        host=HOST.value,
        port=PORT.value,
        certificate=_path(CERTIFICATE),
        key=_path(KEY),
        behind_proxy=BEHIND_PROXY.value,
        trusted=tuple(TRUSTED_ORIGIN.value),
        watch=_path(WATCH),
        calibration_images=_path(CALIBRATION_IMAGES),
        queue_limit=QUEUE.value,
        timeout_s=TIMEOUT_S.value,
        max_upload_mb=MAX_UPLOAD_MB.value,
        keep_gb=KEEP_GB.value,
        audit_share=AUDIT_SHARE.value,
        repeat_share=REPEAT_SHARE.value,
    )
    with stop_on_signals() as stop:
        serve(options, stop)
    return 0


def _store() -> Path:
    if STORE.value:
        return Path(STORE.value)
    if DETECTOR.value:
        return Path(DETECTOR.value).absolute().parent / "service"
    raise UserError(
        "`--detector` is missing: the `detector` folder of a workdir. For --check, --export and "
        "--add_device `--store` is enough."
    )


def _path(flag: flags.FlagHolder[str | None]) -> Path | None:
    return Path(flag.value) if flag.value else None


if __name__ == "__main__":
    run(main, needs_config=False)
