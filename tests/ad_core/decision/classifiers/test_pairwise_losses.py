from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.metrics import log_loss, roc_auc_score

from ad_core.decision import losses
from ad_core.decision.classifiers import pairs
from ad_core.errors import UserError

# One of each way to weigh pairs; the others are `two_way` with other ranges.
KINDS = ["two_way", "bottom_push", "two_way_kl", "tapauc", "bce"]
PAIR_LOSSES = [name for name in losses.LOSSES if name not in ("bce", "focal", "tapauc")]


def at_once(functions):
    """All of the functions by name, as one program: compiling is what takes the time here."""
    return jax.jit(lambda *given: {name: of(*given) for name, of in functions.items()})


def loss_of(name, **options):
    return partial(
        losses.LOSSES[name], **options, **({"progress": 0.5} if name == "tapauc" else {})
    )


def rows(n_normal=40, n_abnormal=10, seed=0, levels=None):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [n_normal, n_abnormal]))
    scores = np.clip(rng.normal(0.4 + 0.1 * labels, 0.2), 0, 1)
    if levels:
        scores = np.round(scores * levels) / levels
    return scores.astype(np.float32), labels


def double_loop(scores, labels, keep_abnormal, keep_normal, gamma, p):
    """Mean over the pairs kept, one at a time; ranks count from the highest score."""
    abnormal = sorted(map(float, scores[labels == 1]), reverse=True)
    normal = sorted(map(float, scores[labels == 0]), reverse=True)
    total = pairs_kept = 0
    for i in keep_abnormal(len(abnormal)):
        for j in keep_normal(len(normal)):
            total += max(gamma - (abnormal[i] - normal[j]), 0.0) ** p
            pairs_kept += 1
    return total / pairs_kept


def every(n):
    return range(n)


# name, options, which of n ranks are kept of 10 abnormal and 40 normal rows
CASES = [
    ("wmw", {}, every, every),
    ("pauc_fpr", {"fpr_range": (0.95, 1.0)}, every, lambda n: [38, 39]),
    ("pauc_fpr", {"fpr_range": (0.0, 0.25)}, every, lambda n: range(10)),
    ("pauc_fpr", {"fpr_range": (0.25, 0.5)}, every, lambda n: range(10, 20)),
    ("pauc_tpr", {"tpr_range": (0.7, 1.0)}, lambda n: [7, 8, 9], every),
    ("two_way", {"fpr_range": (0.0, 0.1), "tpr_range": (0.5, 1.0)}, lambda n: range(5, 10),
     lambda n: range(4)),
    ("bottom_push", {}, lambda n: [9], every),
]  # fmt: skip


SURROGATES = [(0.1, 2.0), (0.3, 3.0), (1.0, 1.0)]


@pytest.fixture(scope="module")
def restricted():
    """Every case with every surrogate, on rows without and with ties."""
    compiled = at_once(
        {
            f"{place} {gamma} {p}": partial(losses.LOSSES[name], gamma=gamma, p=p, **options)
            for place, (name, options, *_) in enumerate(CASES)
            for gamma, p in SURROGATES
        }
    )
    tables = [rows(levels=levels) for levels in (None, 8)]
    return [(table, compiled(jnp.asarray(table[0]), table[1])) for table in tables]


@pytest.mark.parametrize("gamma, p", SURROGATES)
@pytest.mark.parametrize("place", range(len(CASES)))
def test_a_loss_equals_a_double_loop(place, gamma, p, restricted):
    for (scores, labels), found in restricted:
        expected = double_loop(scores, labels, *CASES[place][2:], gamma, p)
        got = found[f"{place} {gamma} {p}"]
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_soft_forms_equal_their_formulas(temperature):
    scores, labels = rows()
    gap = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    loss = np.maximum(1.0 - gap.astype(np.float64), 0.0) ** 2
    inner = temperature * (logsumexp(loss / temperature, axis=1) - np.log(40))
    outers = {"0.02": 0.02, "0.5": 0.5}
    form = partial(losses.two_way_kl, temperature=temperature)
    got = at_once(
        {name: partial(form, temperature_abnormal=outer) for name, outer in outers.items()}
        | {"one way": partial(losses.pauc_kl, temperature=temperature)}
    )(jnp.asarray(scores), labels)
    np.testing.assert_allclose(got["one way"], inner.mean(), rtol=1e-5)
    for name, outer in outers.items():
        expected = outer * (logsumexp(inner / outer) - np.log(10))
        np.testing.assert_allclose(got[name], expected, rtol=1e-5)


def test_the_soft_forms_tend_to_the_hard_ones():
    scores, labels = rows()
    found = at_once(
        {
            "hard": partial(losses.bottom_push, gamma=1.0),
            "soft": partial(losses.two_way_kl, temperature=None, temperature_abnormal=1e-4),
            "everything": partial(losses.wmw, gamma=1.0),
            "nearly everything": partial(losses.pauc_kl, temperature=1e3),
        }
    )(jnp.asarray(scores), labels)
    np.testing.assert_allclose(found["soft"], found["hard"], rtol=1e-2)
    np.testing.assert_allclose(found["nearly everything"], found["everything"], rtol=1e-3)


def test_the_restricted_loss_is_the_cvar_form_at_its_optimum():
    scores, labels = rows(n_normal=37)
    beta, total = 0.2, 0.0  # 0.2 * 37 = 7.4 rows: the eighth counts in part
    for positive in scores[labels == 1]:
        loss = np.maximum(1.0 + scores[labels == 0].astype(np.float64) - positive, 0.0) ** 2

        def objective(dual, loss=loss):
            return dual + np.maximum(loss - dual, 0).sum() / (beta * loss.size)

        best = minimize_scalar(objective, bounds=(0, loss.max()), method="bounded")
        total += min(best.fun, *(objective(dual) for dual in loss))
    got = jax.jit(partial(losses.pauc_fpr, fpr_range=(0.0, beta)))(jnp.asarray(scores), labels)
    np.testing.assert_allclose(got, total / 10, rtol=1e-4)


def test_tapauc_takes_all_pairs_and_then_the_lowest_normals():
    scores, labels = rows()
    found = at_once(
        {
            "everything": partial(losses.wmw, gamma=0.1),
            "lowest": partial(losses.pauc_fpr, fpr_range=(0.95, 1.0), gamma=0.1),
            "before": partial(losses.tapauc, progress=0.2),
            "after": partial(losses.tapauc, progress=0.3),
        }
    )(jnp.asarray(scores), labels)
    np.testing.assert_allclose(found["before"], found["everything"], rtol=1e-6)
    np.testing.assert_allclose(found["after"], found["lowest"], rtol=1e-6)


def test_cross_entropy_equals_sklearn_and_focal_its_formula():
    scores, labels = rows()
    s = jnp.asarray(np.clip(scores, 0.01, 0.99))
    np.testing.assert_allclose(
        losses.bce(s, labels, balanced=False), log_loss(labels, np.float64(s)), rtol=1e-5
    )
    halves = [-np.log(s[labels == 1]).mean(), -np.log1p(-np.float64(s)[labels == 0]).mean()]
    np.testing.assert_allclose(losses.bce(s, labels), np.mean(halves), rtol=1e-5)
    q = np.where(labels == 1, s, 1 - s)
    expected = np.mean(-((1 - q) ** 2) * np.log(q))
    np.testing.assert_allclose(losses.focal(s, labels, balanced=False), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def slopes():
    """By loss the gradient at some scores, and the quotients of finite differences."""
    scores, labels = rows(n_normal=14, n_abnormal=6, seed=3)
    assert np.diff(np.sort(scores)).min() > 1e-3  # no step below changes a rank
    step = 4e-4 * np.eye(20, dtype=np.float32)
    every_loss = {name: loss_of(name) for name in losses.LOSSES}
    got = at_once({name: jax.grad(loss) for name, loss in every_loss.items()})
    batched = at_once({n: jax.vmap(loss, in_axes=(0, None)) for n, loss in every_loss.items()})
    high, low = (batched(jnp.asarray(scores + sign * step), labels) for sign in (1, -1))
    quotients = {n: (np.float64(high[n]) - np.float64(low[n])) / 8e-4 for n in every_loss}
    return got(jnp.asarray(scores), labels), quotients


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_gradient_equals_finite_differences(name, slopes):
    gradients, quotients = slopes
    # float32 values of order 1 leave 1e-7 / 8e-4 of rounding in the quotient.
    np.testing.assert_allclose(gradients[name], quotients[name], rtol=2e-2, atol=6e-4)


def value_and_grad_of_kinds():
    return {name: jax.value_and_grad(loss_of(name)) for name in KINDS}


def test_blocks_and_order_change_nothing(monkeypatch):
    scores, labels = rows()
    whole = at_once(value_and_grad_of_kinds())(jnp.asarray(scores), jnp.asarray(labels))
    monkeypatch.setattr(pairs, "_BLOCK_PAIRS", 150)  # three rows a block
    jax.clear_caches()
    turn = np.random.default_rng(1).permutation(50)
    blocks = at_once(value_and_grad_of_kinds())(
        jnp.asarray(scores[turn]), jnp.asarray(labels[turn])
    )
    for name in KINDS:
        (value, gradient), (small, small_gradient) = whole[name], blocks[name]
        np.testing.assert_allclose(small, value, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(
            small_gradient, gradient[turn], rtol=1e-4, atol=1e-7, err_msg=name
        )


def test_jit_changes_nothing():
    scores, labels = rows()
    loss = jax.value_and_grad(losses.two_way_kl)
    for eager, jitted in zip(
        loss(jnp.asarray(scores), labels), jax.jit(loss)(jnp.asarray(scores), labels), strict=True
    ):
        np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-8)


def test_rows_that_take_no_part_change_nothing_and_folds_train_side_by_side():
    scores, labels = rows()
    drop = np.arange(50) % 3 == 0
    masked = np.where(drop, -1, labels)
    kinds = value_and_grad_of_kinds()
    alone = at_once(kinds)(jnp.asarray(scores[~drop]), jnp.asarray(labels[~drop]))
    folds = at_once({name: jax.vmap(loss, in_axes=(None, 0)) for name, loss in kinds.items()})
    together = folds(jnp.asarray(scores), jnp.stack([labels, masked]))
    for name in KINDS:
        (value, gradient), both = alone[name], together[name]
        np.testing.assert_allclose(both[0][1], value, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(both[1][1][~drop], gradient, rtol=1e-4, atol=1e-7, err_msg=name)
        assert not np.any(both[1][1][drop]), name


def test_a_single_class_has_no_pairs_to_lose():
    every_loss = at_once({name: jax.value_and_grad(loss_of(name)) for name in losses.LOSSES})
    for kind in (0, 1):
        found = every_loss(jnp.linspace(0.1, 0.9, 5), np.full(5, kind))
        for name, (value, gradient) in found.items():
            assert np.isfinite(value) and np.isfinite(gradient).all(), name
            if name not in ("bce", "focal"):
                assert value == 0 and not gradient.any(), name


def test_separation_by_the_margin_costs_nothing():
    labels = np.repeat([0, 1], [30, 6])
    scores = jnp.where(labels == 1, 0.9, 0.2)
    every_loss = at_once({name: loss_of(name, gamma=0.5) for name in PAIR_LOSSES})
    apart, reversed_ = every_loss(scores, labels), every_loss(1 - scores, labels)
    for name in PAIR_LOSSES:
        assert apart[name] == pytest.approx(0.0, abs=1e-6), name
        assert reversed_[name] > 0.5, name


def test_descent_on_the_bottom_push_clears_the_normals_below_the_lowest_abnormal():
    scores, labels = rows(seed=5)
    step = jax.jit(jax.grad(lambda z: losses.bottom_push(jax.nn.sigmoid(z), labels)))
    z = jnp.asarray(np.log(scores.clip(0.05, 0.95) / (1 - scores.clip(0.05, 0.95))))
    assert roc_auc_score(labels, z) < 0.9
    for _ in range(400):
        z = z - 20.0 * step(z)
    assert roc_auc_score(labels, z) == 1.0


def test_a_hundred_thousand_by_a_thousand_train_in_bounded_memory():
    labels = jnp.asarray(np.repeat([0, 1], [100_000, 1_000]))
    scores = jax.random.uniform(jax.random.key(0), (101_000,))
    step = jax.jit(jax.value_and_grad(losses.two_way_kl))
    compiled = step.lower(scores, labels).compile()
    # A table of all pairs would take 400 MB in float32, and several are needed.
    assert compiled.memory_analysis().temp_size_in_bytes < 100e6
    value, gradient = compiled(scores, labels)
    assert np.isfinite(value) and np.isfinite(gradient).all() and gradient.any()


def test_options_out_of_range_are_refused():
    scores, labels = jnp.array([0.1, 0.9]), np.array([0, 1])
    for call, name in [
        (lambda: losses.wmw(scores, labels, gamma=0.0), "gamma"),
        (lambda: losses.wmw(scores, labels, p=0.5), "p"),
        (lambda: losses.pauc_fpr(scores, labels, fpr_range=(0.5, 0.5)), "fpr_range"),
        (lambda: losses.pauc_tpr(scores, labels, tpr_range=(0.5, 1.5)), "tpr_range"),
        (lambda: losses.pauc_kl(scores, labels, temperature=-1.0), "temperature"),
    ]:
        with pytest.raises(UserError, match=name):
            call()
