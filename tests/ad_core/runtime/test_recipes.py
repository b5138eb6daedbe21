import jax
import pytest

from ad_core.errors import UserError
from ad_core.runtime.benchmarks import load_benchmark
from ad_core.runtime.config import to_json
from ad_core.runtime.recipes import device_size, load_recipe
from tests.small_config import small_config

TWO_GROUPS = """
RECIPE = {"data": {"root": "there", "channels": 3}, "seed": 1}
VARIANTS = {
    "bolt": {"name": "bolt", "data": {"channels": 1}},
    "nut": {"name": "nut"},
    "tiny": {"size": "cpu", "seed": 2},
    "accelerator": {"seed": 3},
    "nut,tiny": {"data": {"root": "here"}},
}
"""


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "parts.py").write_text(TWO_GROUPS)
    return f"{tmp_path}/parts.py"


@pytest.mark.parametrize(
    ("words", "name", "size", "seed", "root", "channels"),
    [
        ("bolt,cpu", "bolt", "cpu", 1, "there", 1),
        ("bolt,tiny", "bolt", "cpu", 2, "there", 1),
        ("nut,cpu", "nut", "cpu", 1, "there", 3),
        ("tiny,nut", "nut", "cpu", 2, "here", 3),
        ("nut,accelerator", "nut", "accelerator", 3, "there", 3),
    ],
)
def test_one_variant_of_each_group_changes_the_recipe(
    parts, words, name, size, seed, root, channels
):
    config = load_recipe(f"{parts}:{words}")
    assert (config.name, config.size, config.seed) == (name, size, seed)
    assert config.data.to_dict() == {"root": root, "channels": channels}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", r"parts.py\): name one of its variants: bolt, nut\."),
        (":cpu", "name one of its variants: bolt, nut"),
        (":screw", "unknown variant 'screw'; known: bolt, nut, cpu, accelerator, tiny"),
        (":nut,tiny,cpu", "tiny and cpu exclude each other"),
        (":nut,bolt", "nut and bolt exclude each other"),
        (":nut,nut", "nut and nut exclude each other"),
    ],
)
def test_what_cannot_be_chosen_is_one_message(parts, words, message):
    with pytest.raises(UserError, match=message):
        load_recipe(parts + words)


@pytest.mark.parametrize(("backend", "size"), [("cpu", "cpu"), ("gpu", "accelerator")])
def test_the_size_is_named_or_given_or_the_recipes_or_follows_the_device(
    tmp_path, monkeypatch, backend, size
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert device_size() == size
    (tmp_path / "free.py").write_text("RECIPE = {}")
    (tmp_path / "set.py").write_text("RECIPE = {'size': 'accelerator'}")
    assert load_recipe(f"{tmp_path}/free.py").size == size
    assert load_recipe(f"{tmp_path}/free.py:cpu", size="accelerator").size == "cpu"
    assert load_recipe(f"{tmp_path}/free.py", size="accelerator").size == "accelerator"
    assert load_recipe(f"{tmp_path}/set.py").size == "accelerator"
    assert load_recipe(f"{tmp_path}/set.py:cpu").size == "cpu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('no such day')", "ValueError: no such day"),
        ("x = 1 / 0", "division by zero"),
        ("def get_config(v): ...", r"defines no RECIPE; see configs/folder\.py"),
        ("def", "invalid syntax"),
        ("import nothing_of_the_kind", "nothing_of_the_kind"),
        ("RECIPE = 3", "int"),
        ("RECIPE = {'seed': 1}\nVARIANTS = {'cpu': {'seed': 'x'}}", "seed"),
    ],
)
def test_a_recipe_that_does_not_load_is_named(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"bad\.py.*{message}"):
        load_recipe(f"{path}:cpu")


def test_a_missing_recipe_lists_those_that_exist(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "here.py").touch()
    monkeypatch.chdir(tmp_path)
    for missing in ("configs/gone.py", "gone.py", "else/where.py"):
        with pytest.raises(UserError, match=rf"\(={missing}\): no such file; here: configs/here"):
            load_recipe(f"{missing}:cpu")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").touch()
    with pytest.raises(UserError, match=r"no such file; here: own/mine\.py\."):
        load_recipe("own/gone.py")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no such file; here: .*/configs/brain_mri.py, .*folder.py"):
        load_recipe("configs/gone.py")
    with pytest.raises(UserError, match="no such file; known: .*/configs/benchmark_poster_fig2.py"):
        load_benchmark("configs/gone.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="must end in .py or .json"):
        load_recipe("notes.txt")


def test_a_resolved_config_is_a_recipe_too(tmp_path):
    config = small_config(seed=3)
    (tmp_path / "config.json").write_text(to_json(config))
    assert load_recipe(f"{tmp_path}/config.json").to_dict() == config.to_dict()
