"""Libraries that only an export needs."""

import importlib
import sys
from types import ModuleType

from ad_core.errors import UserError

_TELEMETRY = "openvino_telemetry"  # reports each import of openvino over the network


def require(library: str) -> ModuleType:
    """The library. Raises UserError, with how to install it, where it is missing.

    Nothing is sent anywhere: OpenVINO does without its telemetry where that cannot be imported.
    """
    if library == "openvino":
        sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(
            f"`--format` needs the library {library}, which is not installed: run `make export`, "
            "or `pip install zfn-ad[export]`; `--format=stablehlo` needs none."
        ) from error
