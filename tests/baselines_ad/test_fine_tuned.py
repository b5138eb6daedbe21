"""The fine-tuned head: its first step against PyTorch, what it learns, and from what alone.

tests/golden/fine_tuned.npz: PyTorch 2.13.0 (CPU, float64, batch norms folded), by
`python benchmarks/torch_fine_tuned.py --golden=FILE --packages=DIR`: of the stages 6, 7 and head of
EfficientNet-Lite0 on drawn activations the logits, the loss, samples of gradients, and of the
values after one step of AdamW at a rate of 2e-4.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from sklearn.linear_model import LogisticRegression

from ad_core.backbones import load_backbone
from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.types import Batch
from baselines_ad import fine_tuned, tuning
from baselines_ad.bank import Bank, fill_bank, make_versions
from baselines_ad.frozen import Frozen, make_look
from baselines_ad.members import HELD, make_members
from baselines_ad.objective import Tuning, objective
from baselines_ad.tuning import begin_classifier, take_step, tune
from baselines_ad.upper_stages import Upper, join_weights
from tests.baselines_ad import toy_backbone
from tests.baselines_ad.test_methods import TOY, seen_by, textures
from tests.small_config import small_config

GOLDEN = Path(__file__).parents[1] / "golden" / "fine_tuned.npz"
LABELS = np.array([0, 1, 1, 0, 0, 1], np.int32)
SETTINGS = {"backbone": TOY, "tuned_from": "stage5", "steps": 20, "lr": 0.01, "least_images": 8}
ONCE = Tuning(steps=20, lr=4e-4, weight_decay=0.1, loss="wmw", loss_weight=1.0)  # half at first


def config_of(*, augment="hflip", size=32, **settings):
    return small_config(
        method="baselines_ad.fine_tuned",
        reconstructor={**SETTINGS, **settings},
        data={"channels": 1, "image_size": size, "augment": augment},
    )


def labelled(count=40, seed=0):
    """Textures, of which every second holds a bright square anywhere."""
    images, labels = textures(count, seed=seed), np.arange(count, dtype=np.int32) % 2
    places = np.random.default_rng(seed + 100).integers(4, 20, (count, 2))
    for image, label, (row, column) in zip(images, labels, places, strict=True):
        if label:
            image[row : row + 8, column : column + 8] = 0.9
    return images, labels


def batches_of(images, labels, size=8):
    """The last one padded with what must not be learnt."""
    for first in range(0, len(images), size):
        part = images[first : first + size]
        image = np.full((size, *images.shape[1:]), 0.9, np.float32)
        image[: len(part)] = part
        label, count = np.ones(size, np.int32), np.arange(size)
        label[: len(part)] = labels[first : first + size]
        yield Batch(image, label, count < len(part), np.where(count < len(part), first + count, -1))


def quarters(count=40):
    """Four parts, each without a quarter of the pairs of neighbours."""
    return (np.arange(count) // 2 % 4)[None] != np.arange(4)[:, None]


def fit_parts(images, labels, parts, **settings):
    method = fine_tuned.make(config_of(**settings))
    states = method.learn.fit_parts(lambda: batches_of(images, labels), parts, jax.random.key(5))
    return method, [jax.device_get(state) for state in states]


def bits(state):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(state)]


def golden_case():
    """As torch_fine_tuned.py drew it: the stages, their weights, one member and its batch."""
    rng = np.random.default_rng(12)
    own = {
        "mean": rng.uniform(0, 0.5, 1280),
        "scale": rng.uniform(0.5, 1.5, 1280),
        "weight": rng.normal(0, 0.05, 1280),
        "bias": np.array(0.3),
    }
    x = rng.normal(0, 1.5, (6, 7, 8, 112))
    backbone = load_backbone("efficientnet_lite0")
    upper = Upper(backbone.network, "stage5")
    fixed, tuned = upper.split(backbone.params)
    member = {
        "tuned": tuned,
        "classifier": {k: jnp.asarray(v, jnp.float32) for k, v in own.items()},
    }
    return upper, fixed, member, jnp.asarray(x, jnp.float32)


def sample(x):
    flat = np.asarray(x).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, 48).astype(int)]


def test_logits_loss_and_gradient_equal_pytorchs():
    upper, fixed, member, x = golden_case()

    def loss(member):
        logits = upper.logits(fixed, member, x)
        return objective(logits, jnp.asarray(LABELS), ONCE), logits

    (value, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(member)
    flat = flatten_dict(gradient["tuned"], sep="/")
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(logits, golden["logits"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(value, golden["loss"], rtol=1e-5)
        own = gradient["classifier"]["weight"]
        np.testing.assert_allclose(own, golden["weight/gradient"], rtol=1e-3, atol=1e-5)
        names = [name.removesuffix("/gradient") for name in golden if name.endswith("/gradient")]
        names.remove("weight")
        assert len(names) == 5
        for name in names:
            expected = golden[f"{name}/gradient"]
            assert np.abs(expected).max() > 1e-5
            close = {"rtol": 1e-2, "atol": 1e-3 * np.abs(expected).max()}  # float32, 14 layers
            np.testing.assert_allclose(sample(flat[name]), expected, **close)


def test_the_first_step_equals_pytorchs_and_leaves_depthwise_kernels():
    upper, fixed, member, x = golden_case()
    values = jax.tree.map(lambda a: a[None], member)
    state = tuning._begin_optimiser(values, ONCE)
    given = (values, state, fixed, x[None], jnp.asarray(LABELS)[None])
    step = take_step.lower(*given, upper=upper, settings=ONCE).compile()
    assert "feature_group_count" not in step.as_text()  # XLA's depthwise convolution: slow on a CPU
    after, _ = step(*given)
    flat = flatten_dict(after["tuned"], sep="/")
    assert not any("depthwise/kernel" in name for name in flat)
    with np.load(GOLDEN) as golden:
        for name in [name for name in golden if name.endswith("/after")]:
            name = name.removesuffix("/after")
            own = name in ("weight", "bias")
            found = after["classifier"][name][0] if own else sample(flat[name][0])
            expected, moved = golden[f"{name}/after"], golden.get(f"{name}/gradient", None)
            # Adam's first step is the gradient's sign: below float32's errors it is anyone's.
            sure = np.ones(expected.shape, bool) if moved is None else np.abs(moved) > 1e-6
            assert sure.any()
            np.testing.assert_allclose(found[sure], expected[sure], rtol=1e-5, atol=2e-6)


def test_a_member_begins_as_a_logistic_regression_on_standardised_features():
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (60, 5)).astype(np.float32)
    labels = (features[:, 0] + rng.normal(0, 1, 60) > 2).astype(np.int32)
    found = begin_classifier(features, labels)
    variance = features.astype(np.float64).var(axis=0)
    scale = np.sqrt(variance + 0.01 * variance.mean())
    z = (features - features.mean(axis=0, dtype=np.float64)) / scale
    model = LogisticRegression(C=1e-3, class_weight="balanced", tol=1e-10).fit(z, labels)
    np.testing.assert_allclose(found.weight, model.coef_[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.bias, model.intercept_[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-5)


def test_what_is_planted_is_found_in_images_that_the_state_has_not_learnt():
    images, labels = labelled(64)
    parts = quarters(64)
    method, states = fit_parts(images, labels, parts, steps=100, lr=0.03)
    scores = np.zeros(len(images))
    for part, state in zip(parts, states, strict=True):
        scores[~part] = seen_by(method, state, images[~part]).losses["likeness"]
    assert auroc(labels, scores) > 0.95


def test_the_map_tells_where_and_its_mean_is_the_number():
    images, labels = labelled(64)
    new = images[1:2].copy()  # abnormal; its left half is given what is planted, once more
    new[:, :, 16:], new[:, 12:20, 4:12] = images[:1, :, 16:], 0.9
    for flips in (False, True):
        method = fine_tuned.make(config_of(flips=flips, steps=100, lr=0.03))
        state = method.learn.fit(batches_of(images, labels), jax.random.key(5))
        seen = seen_by(method, state, new)
        where = np.asarray(seen.maps[seen.anomaly])
        np.testing.assert_allclose(where.mean(axis=(1, 2)), seen.losses["likeness"], rtol=1e-5)
        middle = where.shape[2] // 2
        assert where[..., :middle].mean() > where[..., middle:].mean()


def test_a_state_is_that_of_its_images_learnt_alone():
    images, labels = labelled()
    parts = quarters()
    method, states = fit_parts(images, labels, parts)
    for number in (0, 3):
        part = parts[number]
        alone = method.learn.fit(batches_of(images[part], labels[part]), jax.random.key(5))
        # Products of other shapes: float32 sums of another order, through 20 steps.
        for a, b in zip(jax.tree.leaves(states[number]), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-4)


def test_no_image_that_is_held_out_touches_a_state():
    images, labels = labelled()
    parts = quarters()
    _, before = fit_parts(images, labels, parts)
    changed = images.copy()
    changed[~parts[1]] = -changed[~parts[1]]
    _, after = fit_parts(changed, labels, parts)
    assert bits(before[1]) == bits(after[1])
    assert bits(before[0]) != bits(after[0])


def test_one_seed_gives_the_same_bits_again():
    images, labels = labelled()
    (_, one), (_, other) = (fit_parts(images, labels, quarters()) for _ in range(2))
    assert [bits(x) for x in one] == [bits(x) for x in other]


def test_every_member_stops_by_neighbours_that_it_does_not_learn_and_no_two_by_the_same():
    labels = np.array([0] * 11 + [1] * 7)
    rows = np.arange(100, 118)
    members = make_members(rows, labels, seeds=HELD, steps=30, batch=6, versions=2, seed=(1, 2))
    for member in members:
        assert not set(member.learnt) & set(member.stop)
        assert sorted([*member.learnt, *member.stop]) == rows.tolist()
        assert set(np.unique(member.drawn)) == set(member.learnt)
        kinds = labels[member.drawn - 100]
        assert (kinds.sum(axis=1) == 3).all()
        for kind in (0, 1):
            held = member.stop[labels[member.stop - 100] == kind]
            assert len(held) and (np.diff(held) == 1).all()
        assert set(np.unique(member.version)) == {0, 1}
    assert sorted(np.concatenate([one.stop for one in members])) == rows.tolist()


def test_a_tuning_that_makes_held_images_worse_gives_what_it_began_with():
    """Labels of the images to stop by are the wrong way round: every step does harm there."""
    images, labels = labelled()
    backbone = toy_backbone.load("toy")
    frozen, upper = Frozen(TOY, ("stage3",), "float32"), Upper(backbone.network, "stage3")
    values = make_versions(frozen, flips=True)
    look = make_look(values, backbone.params)
    bank = fill_bank(look, batches_of(images, labels), room=99, seed=(0,))
    rows = np.arange(40)
    member = make_members(rows, labels, seeds=1, steps=60, batch=8, versions=2, seed=(0,))[0]
    settings = Tuning(steps=60, lr=0.03, weight_decay=0.0, loss="wmw", loss_weight=1.0)
    fixed, tuned = upper.split(backbone.params)
    start = tuning.begin(upper, fixed, tuned, bank, [member])

    def learnt(labels_to_stop_by):
        # The member's own rows and those to stop by are copies, so that labels can differ.
        copies = bank.activations[member.stop]
        wider = Bank(
            np.concatenate([bank.activations, copies]),
            np.concatenate([bank.label, labels_to_stop_by]),
            np.arange(40 + len(copies)),
        )
        own = member._replace(stop=40 + np.arange(len(copies)))
        return tune(upper, backbone.params, wider, [own], seeds=1, settings=settings)

    right, wrong = learnt(labels[member.stop]), learnt(1 - labels[member.stop])
    for a, b in zip(jax.tree.leaves(wrong["tuned"]), jax.tree.leaves(start["tuned"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    a, b = (one["classifier"]["weight"][0] for one in (wrong, start))
    np.testing.assert_allclose(a / np.linalg.norm(a), b / np.linalg.norm(b), rtol=1e-5, atol=1e-6)
    moved = np.abs(right["tuned"]["stage5"]["kernel"] - start["tuned"]["stage5"]["kernel"])
    assert moved.max() > 1e-2


def test_every_state_counts_from_the_middle_of_what_it_stops_by():
    """However long it learnt: a threshold from states of parts judges by the state of all."""
    images, labels = labelled(64)
    for steps in (5, 100):
        method, states = fit_parts(images, labels, quarters(64), steps=steps, lr=0.03, seeds=1)
        for part, state in zip(quarters(64), states, strict=True):
            rows = np.flatnonzero(part)
            held = [np.array_split(rows[labels[rows] == kind], HELD)[0] for kind in (0, 1)]
            normal, abnormal = (
                np.asarray(seen_by(method, state, images[one]).losses["likeness"]) for one in held
            )
            np.testing.assert_allclose(np.median(normal) + np.median(abnormal), 0, atol=1e-4)
            spread = np.abs(normal).mean() + np.abs(abnormal).mean()
            np.testing.assert_allclose(spread, 2, rtol=1e-4)


@pytest.mark.parametrize("kinds", ["abnormal", "normal"])
def test_with_too_few_images_of_a_class_it_says_so_and_gives_a_constant(kinds, caplog):
    images, labels = labelled()
    few = np.flatnonzero(labels == (kinds == "abnormal"))[7:]
    keep = np.setdiff1d(np.arange(40), few)
    method = fine_tuned.make(config_of())
    with caplog.at_level("WARNING"):
        state = method.learn.fit(batches_of(images[keep], labels[keep]), jax.random.key(0))
    counts = "20 normal and 7" if kinds == "abnormal" else "7 normal and 20"
    assert f"has {counts} abnormal images to learn from and needs 8 of each" in caplog.text
    assert not np.asarray(seen_by(method, state, images[:4]).losses["likeness"]).any()


def test_a_part_with_too_few_images_leaves_every_part_untuned():
    images, labels = labelled()
    parts = np.ones((2, 40), bool)
    parts[1, np.flatnonzero(labels)[7:]] = False
    method, states = fit_parts(images, labels, parts)
    for state in states:
        assert not np.asarray(seen_by(method, state, images[:4]).losses["likeness"]).any()


def test_mirror_images_are_learnt_where_the_recipe_turns_images_and_not_else(monkeypatch):
    images, labels = labelled()
    banks = []
    monkeypatch.setattr(fine_tuned, "tune", lambda *a, **k: banks.append(a[2]) or _start(*a))
    for augment in ("none", "hflip", "flips_and_turns"):
        fit_parts(images, labels, quarters(), augment=augment)
    assert [bank.activations.shape[1] for bank in banks] == [1, 2, 2]
    backbone = toy_backbone.load("toy")
    mirrored = jnp.asarray(images[:3, :, ::-1])
    expected = backbone.stages(backbone.params, mirrored, levels=("stage3",))["stage3"]
    np.testing.assert_allclose(banks[1].activations[:3, 1], expected, rtol=1e-5, atol=1e-5)


def _start(upper, params, bank, members):
    return tuning.begin(upper, *upper.split(params), bank, members)


def test_a_flip_changes_nothing_where_flips_are_averaged():
    images, labels = labelled()
    for flips in (True, False):
        method = fine_tuned.make(config_of(flips=flips))
        state = method.learn.fit(batches_of(images, labels), jax.random.key(0))
        one, other = (
            np.asarray(seen_by(method, state, x).losses["likeness"])
            for x in (images[:6], images[:6, :, ::-1].copy())
        )
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5) == flips


def test_a_state_holds_the_weights_below_once_and_no_level_twice():
    images, labels = labelled()
    method = fine_tuned.make(config_of())
    state = method.learn.fit(batches_of(images, labels), jax.random.key(0))
    assert set(state.params["backbone"]) == {"stem", "stage3"}
    assert set(state.params["members"]["tuned"]) == {"stage5", "head"}
    assert state.params["members"]["tuned"]["head"]["kernel"].shape == (2, 3, 3, 12, 5)


def test_split_weights_join_to_those_that_they_were():
    backbone = load_backbone("efficientnet_lite0")
    fixed, tuned = Upper(backbone.network, "stage5").split(backbone.params)
    joined = flatten_dict(join_weights(fixed, tuned))
    whole = {k: v for k, v in flatten_dict(backbone.params).items() if k in joined}
    assert {k[0] for k in joined} == {"stage6", "stage7", "head"}
    assert all(joined[k] is whole[k] for k in joined)
    assert all(k[-2:] == ("depthwise", "kernel") for k in flatten_dict(fixed))
    assert len(flatten_dict(fixed)) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuned_from": "stem"}, r"`reconstructor.tuned_from` \(=stem\) must be a level of"),
        ({"tuned_from": "stage9"}, "known: stage3, stage5, head"),
        ({"loss": "tapauc"}, r"`reconstructor.loss` \(=tapauc\): unknown; known: bce"),
        ({"steps": 0}, r"`reconstructor.steps` \(=0\) must lie in"),
        ({"seeds": 6}, r"`reconstructor.seeds` \(=6\) must lie in \[1, 5\]"),
        ({"least_images": 4}, r"`reconstructor.least_images` \(=4\) must lie in \[5,"),
        ({"backbone": "nowhere"}, "Unknown backbone 'nowhere'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_message(settings, message):
    with pytest.raises(UserError, match=message):
        fine_tuned.make(config_of(**settings))


@pytest.mark.parametrize("size", ["cpu", "accelerator"])
def test_defaults_are_whole_for_both_sizes(size):
    method = fine_tuned.make(small_config(method="baselines_ad.fine_tuned", size=size))
    assert method.learns_from_calibration and method.losses == ("likeness",)
