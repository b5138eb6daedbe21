import json

import pytest

from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.scoring.plan import make_plan, read_plan, rows_of_shard
from tests.small_config import small_config

ONE = {"detector": "a", "listing": "b", "images": 5}


@pytest.fixture
def source(tmp_path):
    """Names of images of which none is there: a plan reads none of them."""
    return FileSource(tmp_path, [f"{number}.png" for number in range(5)], small_config().data)


@pytest.mark.parametrize(("images", "shards"), [(5, 5), (11, 4), (1000, 7), (10**8, 1000)])
def test_every_image_is_in_one_shard_and_shards_differ_by_one_at_most(images, shards):
    rows = [rows_of_shard(number, shards, images) for number in range(shards)]
    assert rows[0].start == 0 and rows[-1].stop == images
    assert all(a.stop == b.start for a, b in zip(rows[:-1], rows[1:], strict=True))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_whoever_plans_second_takes_the_plan_of_the_first(source, tmp_path):
    first = make_plan(tmp_path / "out", ONE, source, shards=2)
    before = (tmp_path / "out" / "plan.json").stat().st_mtime_ns
    assert make_plan(tmp_path / "out", ONE, source, shards=2).sha256 == first.sha256
    assert (tmp_path / "out" / "plan.json").stat().st_mtime_ns == before
    assert read_plan(tmp_path / "out").missing == [0, 1]
    with pytest.raises(UserError, match="differs in: detector, --shards"):
        make_plan(tmp_path / "out", ONE | {"detector": "c"}, source, shards=3)


def test_a_plan_is_begun_again_where_a_kill_came_before_it_stood(source, tmp_path):
    make_plan(tmp_path / "out", ONE, source, shards=2)
    (tmp_path / "out" / "plan.json").unlink()
    assert make_plan(tmp_path / "out", ONE, source, shards=3).count == 3


def test_a_folder_of_other_things_is_refused(source, tmp_path):
    (tmp_path / "maps").mkdir()
    with pytest.raises(UserError, match="holds maps, which is no part of a lot in shards"):
        make_plan(tmp_path, ONE, source, shards=2)
    (tmp_path / "plan.json").write_text(json.dumps({"mine": 1}))
    with pytest.raises(UserError, match="plan.json cannot be read"):
        read_plan(tmp_path)


def test_a_file_that_comes_after_the_plan_is_told(source, tmp_path):
    plan = make_plan(tmp_path / "out", ONE, source, shards=5)
    plan.check_files(3, source)
    (tmp_path / "3.png").write_bytes(b"new")
    with pytest.raises(UserError, match="images of shard 3 have another size or time"):
        plan.check_files(3, source)
