"""A published set of images, from a copy on disk, as a data set of TensorFlow Datasets.

    python launch/build_tfds.py --set=retina_oct --root=DIR

It is packed as array_record with the files' own bytes; use it as `--config.data.source=tfds:NAME`
or `--input=tfds:NAME`. A set that is there already is left as it is.
"""

from absl import flags

from ad_core.errors import UserError
from ad_core.runtime.command import run

SET = flags.DEFINE_string("set", None, "The set: retina_oct, brain_mri, mvtec_ad/bottle, …")
ROOT = flags.DEFINE_string("root", None, "The folder that holds the copy.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "Folder of the data sets (default: TFDS_DATA_DIR or ~/tensorflow_datasets)."
)


def main(_: None) -> None:
    """Builds the set and says where it is."""
    for flag in (SET, ROOT):
        if not flag.value:
            raise UserError(f"`--{flag.name}` is missing; see --help.")
    from ad_core.data.sets.packing import pack
    from ad_core.runtime.registry import resolve

    name, _slash, config = str(SET.value).partition("/")
    builder = resolve(f"ad_core.data.sets.{name}", "BUILDER").BUILDER
    print(
        f"data set: {pack(builder, str(ROOT.value), data_dir=str(DATA_DIR.value), config=config)}"
    )


if __name__ == "__main__":
    run(main, needs_config=False)
