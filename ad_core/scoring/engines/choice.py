"""The engine that a command line asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ad_core.errors import UserError
from ad_core.runtime.stop import Stop
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.engines.ray_actors import score_by_ray
from ad_core.scoring.engines.shards import merge_shards, open_shards, score_shard, shard_numbers


def score(
    detector_dir: Path,
    given: Path,
    output: Path,
    *,
    shards: int | None,
    shard: str | None,
    merge: bool,
    ray: Mapping[str, Any] | None,
    stop: Stop,
    **options: Any,
) -> dict[str, Any]:
    """Scores on this machine, by shards or by Ray; or merges what was scored by shards.

    Args:
        ray: address and actors of `score_by_ray`; None: without Ray. options: as `score_files`.

    Returns:
        The content of summary.json. Of shards that wait for others: how many are `finished` now,
        how many `shards` there are, and how many of those asked for were `skipped`.

    Raises:
        UserError: as the engine's, or flags that do not go together.
    """
    files = (detector_dir, given, output)
    if (merge or ray is not None) and shard is not None:
        flag = "--merge" if merge else "--engine=ray"
        raise UserError(f"`--shard` (={shard}) does not go with {flag}, which takes all shards.")
    if shard is not None and shards is None:
        raise UserError(f"`--shard` (={shard}) needs --shards, the number of all.")
    if ray is not None and not merge:
        return score_by_ray(*files, shards=shards, stop=stop, **ray, **options)
    if merge:
        return merge_shards(open_shards(*files, shards=shards, **options))
    if shards is None:
        return score_files(*files, stop=stop, **options)
    numbers = shard_numbers(shard)
    lot = open_shards(*files, shards=shards, **options)
    scored = sum(score_shard(lot, number, stop) for number in numbers)
    missing = len(lot.plan.missing)
    return {"finished": shards - missing, "shards": shards, "skipped": len(numbers) - scored}
