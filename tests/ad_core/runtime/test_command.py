import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from ad_core.errors import UserError
from ad_core.runtime.command import overrides_of, parse_flags, run
from ad_core.runtime.config import complete, to_json
from ad_core.runtime.recipes import load_recipe

ROOT = Path(__file__).parents[3]
RECIPE = f"{ROOT}/configs/retina_oct.py:phantom"
VQGAN = "--config.method=vqgan_ad.vqgan"


def parse(*argv, needs_config=True):
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Where the run lies.", flag_values=values)
    return parse_flags(["prog", *argv], needs_config=needs_config, flag_values=values)


def test_without_overrides_it_is_the_completed_recipe():
    assert parse("--config", RECIPE).to_dict() == complete(load_recipe(RECIPE)).to_dict()
    assert parse(f"-config={RECIPE}").is_locked


def test_every_key_can_be_overridden():
    config = parse(
        f"--config={RECIPE}",
        VQGAN,
        "--config.train.steps=12",
        "--config.data.root",
        "somewhere",
        "--config.decision.confidence=1",
        "--config.reconstructor.restart_dead=false",
        "--noconfig.reconstructor.adaptive",
        "--config.reconstructor.attention=(1,2)",
        "--config.data.value_range=(0,4095)",
        "--config.data.phantom.seed=4",
    )
    assert config.train.steps == 12
    assert config.data.root == "somewhere"
    assert config.decision.confidence == 1.0
    assert not config.reconstructor.restart_dead
    assert not config.reconstructor.adaptive
    assert config.reconstructor.attention == (1, 2)
    assert config.data.value_range == (0, 4095)
    assert config.data.phantom.seed == 4


@pytest.mark.parametrize("text", ["ssim,mse", "ssim, mse", "('ssim','mse')", "['ssim', 'mse']"])
def test_names_are_separated_by_commas(text):
    config = parse(f"--config={RECIPE}", f"--config.statistics.names={text}")
    assert config.statistics.names == ("ssim", "mse")


def test_none_unsets_a_tuple():
    assert parse(f"--config={RECIPE}", "--config.data.value_range=none").data.value_range is None
    assert parse(f"--config={RECIPE}", "--config.statistics.names=mse").statistics.names == ("mse",)


@pytest.mark.parametrize(("text", "value"), [("96", 96), ("64,96", (64, 96))])
def test_the_size_of_the_images_is_one_number_or_two(text, value):
    config = parse(f"--config={RECIPE}", f"--config.data.image_size={text}")
    assert config.data.image_size == value


def test_the_defaults_follow_an_overridden_size():
    config = parse(f"--config={RECIPE}", VQGAN, "--config.size=accelerator")
    assert config.data.image_size == 256
    assert config.data.source == "ad_core.data.phantoms.worlds"
    assert config.reconstructor.width > parse(f"--config={RECIPE}", VQGAN).reconstructor.width


def test_images_are_larger_and_statistics_fewer_for_what_learns_in_one_pass():
    once, trained = parse(f"--config={RECIPE}"), parse(f"--config={RECIPE}", VQGAN)
    assert (once.data.image_size, trained.data.image_size) == (256, 64)
    assert (once.statistics.names, trained.statistics.names) == (("default",), ("all",))
    assert parse(f"--config={RECIPE}", "--config.data.image_size=96").data.image_size == 96


def test_an_overridden_size_takes_the_place_of_the_devices_and_of_a_variants():
    assert parse(f"--config={RECIPE}").train.steps == 600
    assert parse(f"--config={RECIPE}", "--config.size=accelerator").train.steps == 20_000
    config = parse(f"--config={RECIPE},cpu", "--config.size=accelerator")
    assert (config.size, config.data.image_size) == ("accelerator", 256)


def test_the_defaults_follow_an_overridden_method(tmp_path, monkeypatch):
    (tmp_path / "other_ad.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def defaults(size): return ConfigDict({'depth': 3 if size == 'cpu' else 9})\n"
        "from ad_core.types import Method, Steps\n"
        "def make(config): return Method(learn=Steps(None, None), view=None)\n"
    )
    (tmp_path / "own.py").write_text(
        "RECIPE = {'method': 'vqgan_ad.vqgan', 'seed': 5, 'reconstructor': {'codes': 8},\n"
        "    'without_abnormal': 'vqgan_ad.vqgan'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = f"--config={tmp_path}/own.py"
    assert parse(own).reconstructor.codes == 8
    config = parse(own, "--config.method=other_ad", "--config.reconstructor.depth=4")
    assert config.reconstructor.to_dict() == {"depth": 4}
    assert (config.method, config.seed) == ("other_ad", 5)
    assert not config.without_abnormal and parse(own).without_abnormal
    with pytest.raises(UserError, match="reconstructor.codes` is unknown; known: .*depth"):
        parse(own, "--config.method=other_ad", "--config.reconstructor.codes=4")


def test_a_workdir_gives_its_own_config(tmp_path):
    config = complete(load_recipe(RECIPE))
    assert parse(f"--workdir={tmp_path}", needs_config=False) is None
    (tmp_path / "config.json").write_text(to_json(config))
    assert parse(f"--workdir={tmp_path}").to_dict() == config.to_dict()
    assert parse(f"--workdir={tmp_path}", "--config.seed=8").seed == 8
    with pytest.raises(UserError, match=r"config.size` \(=accelerator\) comes too late"):
        parse(f"--workdir={tmp_path}", "--config.size=accelerator")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--config.train.steps=12", "--config.data.root=some where", "--config.seed=3"],
        ["--config.data.image_size=64,96", "--config.data.value_range=0,4095"],
        [VQGAN, "--config.statistics.names=ssim", "--config.reconstructor.attention=(1,)"],
        ["--config.decision.rules=zfn,cost", "--config.data.normal_classes=ok,fine"],
        [VQGAN, "--config.data.near_duplicates=4", "--config.reconstructor.adaptive=false"],
        ["--config.size=accelerator", "--config.method=baselines_ad.padim,baselines_ad.gaussian"],
    ],
)
@pytest.mark.parametrize("name", [RECIPE, f"{RECIPE},cpu"])
def test_a_configuration_is_said_as_the_overrides_that_give_it(name, argv):
    config = parse(f"--config={name}", *argv)
    overrides = overrides_of(name, config)
    assert len(overrides) == len(argv) or "--config.size=accelerator" in argv
    said = [f"--config.{key}={value}" for key, value in overrides.items()]
    assert parse(f"--config={name}", *said).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "`--config` is missing; e.g. "),
        (["--config.seed=3"], "`--config` is missing"),
        (["--fotos=x"], "Unknown command line flag 'fotos'"),
        (["--config"], "no such file"),
        (
            [f"--config={RECIPE}", "--config.train.stepz=3"],
            "did you mean reconstructor.multiple_instance.steps or train.steps",
        ),
        ([f"--config={RECIPE}", "--config.train=3"], "is a section; its keys: train.batch_size"),
        ([f"--config={RECIPE}", "--config.seed=x"], r"config.seed` \(=x\) must be of type int"),
        ([f"--config={RECIPE}", "--config.seed=1.5"], r"config.seed` \(=1.5\) must be of type int"),
        (
            [f"--config={RECIPE}", VQGAN, "--config.reconstructor.adaptive=x"],
            "must be of type bool",
        ),
        ([f"--config={RECIPE}", VQGAN, "--config.reconstructor.beta=x"], "must be of type float"),
        ([f"--config={RECIPE}", "--config.seed"], "config.seed"),
        ([f"--config={RECIPE},gpu"], "unknown variant 'gpu'; known: phantom, cpu, accelerator"),
        ([f"--config={RECIPE}", "--config.method=none_ad"], "'none_ad'; known: .*vqgan_ad.vqgan"),
        ([f"--config={RECIPE}", "--config.size=big"], r"config.size` \(='big'\) must be one of"),
        ([f"--config={RECIPE}", "--workdri=x"], "Unknown command line flag 'workdri'.*workdir"),
        ([f"--config={RECIPE}", "x"], "'x' belongs to no flag"),
        ([f"--config={RECIPE}", "--", "x"], "'x' belongs to no flag"),
    ],
)
def test_a_wrong_command_line_is_one_message(argv, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def status(main, *argv):
    with pytest.raises(SystemExit) as ended:
        run(main, needs_config=False, argv=["prog", *argv])
    return ended.value.code


def test_run_turns_what_main_does_into_a_status(capsys):
    def refuse(config):
        raise UserError("The folder 'x' is empty.")

    def interrupt(config):
        raise KeyboardInterrupt

    assert status(lambda config: None) == 0
    assert status(lambda config: 3) == 3
    assert status(refuse) == 2
    assert capsys.readouterr().err == "error: The folder 'x' is empty.\n"
    assert status(interrupt) == 130
    assert status(lambda config: None, "--wrong=1") == 2


def test_run_hides_no_fault_of_the_program():
    def fail(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(fail, needs_config=False, argv=["prog"])


SCRIPT = '''"""Says the seed."""
from absl import flags
from ad_core.runtime.command import run
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lies.", required=True)
def main(config):
    print(WORKDIR.value, config.seed)
if __name__ == "__main__":
    run(main)
'''


@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        (["--workdir=w", f"--config={RECIPE}", "--config.seed=6"], 0, "w 6\n", ""),
        ([f"--config={RECIPE}"], 2, "", "error: flag --workdir=None: "),
        (["--help", f"--config={RECIPE}"], 0, "Says the seed.", ""),
    ],
)
def test_a_script_runs_from_anywhere_without_a_traceback(tmp_path, argv, code, out, err):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, *argv],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(out)
    assert done.stderr.startswith(err)
    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr.count("\n") == 1
    if "--help" in argv:
        assert "--workdir" in done.stdout and "--config.data.image_size=" in done.stdout
