"""What methods know alike stands once, and is measured by one program."""

import jax
import jax.numpy as jnp
import numpy as np

from ad_core.runtime.sharing import find_places, make_shared_inference

SIDE = 32


def weights(seed):
    return np.random.default_rng(seed).normal(0, 0.2, (SIDE, SIDE)).astype(np.float32)


def through(weight, image):
    for _ in range(4):
        image = jnp.tanh(image @ weight)
    return image


def both(known, image):
    """Two methods: what is alike of them is a network of several layers."""
    return [own["head"][None] * through(own["backbone"], image) for own in known]


def knowledge(first, second):
    """Two methods on networks of these seeds, each with a head of its own."""
    return [
        {"backbone": weights(seed), "head": np.full(SIDE, number + 1.0, np.float32)}
        for number, seed in enumerate((first, second))
    ]


def test_arrays_with_the_same_bits_stand_once():
    one, other = np.array([0.0, 0.0, 3.0, 4.0], np.float32), weights(0)
    negative = np.array([-0.0, 0.0, 3.0, 4.0], np.float32)  # equal, and other bits
    leaves = [one, other, one.copy(), negative, one.reshape(2, 2), one.astype(np.int32)]
    assert find_places(leaves) == (0, 1, 0, 3, 4, 5)
    assert find_places([jnp.asarray(other), other]) == (0, 0)


def test_an_array_of_one_value_may_be_alike_by_chance_and_stands_alone():
    zero, single = np.zeros(9, np.float32), np.float32(2.0)
    assert find_places([zero, zero, single, single, np.zeros(0)]) == (0, 1, 2, 3, 4)


def test_results_are_those_of_the_function_and_one_program_serves_what_is_alike():
    image = np.random.default_rng(1).normal(size=(3, SIDE)).astype(np.float32)
    inference = make_shared_inference(both, batch_size=4)
    programs = []
    for seeds in ((0, 0), (5, 5), (0, 1), (2, 3)):  # the last two share nothing
        known = knowledge(*seeds)
        on_device, begin = inference.knowing(known)
        for own, given in zip(on_device, known, strict=True):
            np.testing.assert_array_equal(own["backbone"], given["backbone"])
        expected = jax.jit(both)(known, image)
        for found, one in zip(begin(image).result(), expected, strict=True):
            np.testing.assert_allclose(found, one, rtol=1e-5, atol=1e-6)
        programs.append(inference.compilations())
    assert programs == [1, 1, 2, 2]


def test_a_network_that_methods_share_is_passed_through_once():
    def cost(known):
        """Operations of the compiled program, as it is made for what is known."""
        leaves, tree = jax.tree.flatten(known)
        places = find_places(leaves)
        own = {place: leaves[place] for place in set(places)}

        def measure(own, image):
            return both(jax.tree.unflatten(tree, [own[place] for place in places]), image)

        return (
            jax.jit(measure).lower(own, np.zeros((1, SIDE), np.float32)).compile().cost_analysis()
        )

    alike, apart = cost(knowledge(0, 0))["flops"], cost(knowledge(0, 1))["flops"]
    assert alike < 0.6 * apart
