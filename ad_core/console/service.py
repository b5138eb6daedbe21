"""Service as a process: a line, its application on a port, a watched folder, and their end."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ad_core.console import pages
from ad_core.console.app import Settings, create_app
from ad_core.console.line import Line
from ad_core.console.promise import REPEATS
from ad_core.console.sampling import SHARE
from ad_core.console.security import check_binding, origins_of
from ad_core.console.store import Store
from ad_core.console.users import SCORE, Users
from ad_core.console.watch import Watcher, check_folder
from ad_core.errors import UserError
from ad_core.runtime.invocation import script
from ad_core.runtime.stop import Stop

MIB, GIB = 2**20, 2**30
IDLE_S = 30  # until an idle connection is closed


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the service.

    detector, store: folders. host, port: where it listens; port 0: one that is free. certificate,
    key: of TLS. behind_proxy: a proxy on the way encrypts. trusted: further origins of the
    console. watch: a folder to score. queue_limit, timeout_s: as `Line`. max_upload_mb: MiB of an
    image. keep_gb: GiB of pictures and maps; 0: no limit. audit_share, repeat_share,
    calibration_images: as `pages.routes`.
    """

    detector: Path
    store: Path
    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    trusted: tuple[str, ...] = ()
    watch: Path | None = None
    calibration_images: Path | None = None
    queue_limit: int = 16
    timeout_s: float = 10.0
    max_upload_mb: int = 64
    keep_gb: float = 20.0
    audit_share: float = SHARE
    repeat_share: float = REPEATS

    @property
    def most_bytes(self) -> int:
        """Bytes of an image at most."""
        return self.max_upload_mb * MIB


def serve(options: Options, stop: Stop) -> None:
    """Answers until `stop` is set, then finishes what was accepted.

    Raises:
        UserError: anything wrong with an option, the detector, the store, the port or the folder.
        Stopped: the service was asked to end, and has ended.
    """
    tls = {"certificate": options.certificate, "key": options.key}
    check_binding(options.host, **tls, behind_proxy=options.behind_proxy)
    if options.watch is not None:
        check_folder(options.watch)
    keep = int(options.keep_gb * GIB) or None
    with _listening(options) as listener, Store(options.store, keep_bytes=keep) as store:
        settings = _settings(options, listener.getsockname()[1])
        line = Line(
            options.detector, store, queue_limit=options.queue_limit, timeout_s=options.timeout_s
        )
        try:
            _run(options, settings, listener, line, stop)
        finally:
            line.stop()
            print(f"{line.metrics.in_words()}; {_events(store)}")
    stop.check()


def _settings(options: Options, port: int) -> Settings:
    encrypted = options.certificate is not None
    origins = origins_of(options.host, port, encrypted=encrypted, trusted=options.trusted)
    return Settings(origins, encrypted or options.behind_proxy, options.most_bytes)


def _run(
    options: Options, settings: Settings, listener: socket.socket, line: Line, stop: Stop
) -> None:
    screens = pages.routes(
        line,
        line.store,
        audit_share=options.audit_share,
        repeat_share=options.repeat_share,
        calibration_images=options.calibration_images,
    )
    app = create_app(settings, line, screens)
    server = uvicorn.Server(_configure(options, app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
    watcher = _watcher(options, line)
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            thread.join(0.01)
        if watcher:
            watcher.start()
        _announce(options, line, app.state.users, settings.origins[0])
        while thread.is_alive() and not stop:
            thread.join(0.1)
        if not stop:
            raise RuntimeError("The server ended by itself; see what it says above.")
    finally:
        if watcher:
            watcher.stop()
        server.should_exit = True
        thread.join()


def _configure(options: Options, app: object) -> uvicorn.Config:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,  # the store is the log, and a set-up link is a secret
        server_header=False,
        lifespan="off",
        http="h11",
        ws="none",
        proxy_headers=options.behind_proxy,
        forwarded_allow_ips="127.0.0.1",
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=int(options.timeout_s) + 5,
    )
    # Broken forms are answered and counted; a line each would let anybody fill the log.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        config.load()
    except OSError as error:  # SSLError is one
        raise UserError(
            f"`--certificate`, `--key` (={options.certificate}, {options.key}): no pair in PEM "
            f"format ({error}); give the certificate and its own key."
        ) from error
    return config


def _watcher(options: Options, line: Line) -> Watcher | None:
    if options.watch is None:
        return None
    return Watcher(options.watch, line, most_bytes=options.most_bytes)


@contextmanager
def _listening(options: Options) -> Iterator[socket.socket]:
    """The port, taken before anything takes long."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except OSError as error:
            raise UserError(
                f"`--host`, `--port` (={options.host}, {options.port}): cannot listen there "
                f"({error.strerror or error}); choose others."
            ) from error
        yield listener
    finally:
        listener.close()


def _announce(options: Options, line: Line, users: Users, origin: str) -> None:
    loaded = line.loaded
    print(f"{loaded.detector!r} from {loaded.directory}, manifest {loaded.sha[:12]}")
    print(f"  answers at {origin}/v1/score, people at {origin}/, events in {options.store}")
    if not loaded.can_recalibrate:
        print(
            "  the console cannot recalibrate it, for it does not hold its calibration scores; "
            "calibrate its workdir again with launch/calibrate.py"
        )
    if options.watch:
        print(f"  scores what is put in {options.watch}")
    if code := users.set_up_code():
        print(f"  nobody may log in yet. Once only: {origin}/setup?code={code}")
    if SCORE not in users.devices().values() and not options.watch:
        add = f"{script('serve')} --store={options.store} --add_device=NAME"
        print(f"  no device may score yet. Add one on {origin}/accounts, or before: {add}")
    print("  ready; Ctrl-C or SIGTERM ends it when all that was accepted is answered", flush=True)


def _events(store: Store) -> str:
    last = store.last()
    return f"event {last.seq}, {last.hash}" if last else "no event"
