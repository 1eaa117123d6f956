"""Schedules and optimizers, step by step."""

import pytest

from egokeras.errors import InputError
from egokeras.optim import Cosine, Optim, Plateau, StepDecay


def test_schedules():
    plain, repo = StepDecay(), StepDecay(rule="repo")
    assert [epoch for epoch in range(1, 101) if plain.at(epoch, 100) != plain.at(epoch - 1, 100)] == [35, 55, 75, 95]
    assert [epoch for epoch in range(1, 101) if repo.at(epoch, 100) != repo.at(epoch - 1, 100)] == [35, 40, 60, 80, 100]
    assert plain.at(99, 100) == pytest.approx(0.2**4)
    assert Cosine().at(0, 10) == 1 and Cosine().at(5, 10) == pytest.approx(0.5)


def test_optimizer_follows_the_schedule_step_by_step():
    import keras

    optimizer = Optim(learning_rate=1.0, schedule=StepDecay(factor=0.1, first=2, every=1), clip_norm=100.0).build(
        steps_per_epoch=5, epochs=4
    )
    assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.clipnorm == 100.0
    rates = []
    weight = keras.Variable(0.0)
    optimizer.build([weight])
    for _ in range(20):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([keras.ops.ones(())], [weight])
    assert rates == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)
    assert float(Optim(schedule=Cosine()).build(steps_per_epoch=5, epochs=1).learning_rate) == pytest.approx(1e-3)
    with pytest.raises(InputError, match="use optim.optimizer=adamw"):
        Optim(weight_decay=1e-4).build(1, 1)
    assert isinstance(Optim(optimizer="sgd").build(1, 1), keras.optimizers.SGD)
    assert isinstance(Optim(optimizer="adamw").build(1, 1), keras.optimizers.AdamW)


def test_a_plateau_leaves_the_rate_to_a_callback():
    optimizer = Optim(optimizer="sgd", learning_rate=0.01, schedule=Plateau()).build(steps_per_epoch=5, epochs=4)
    optimizer.learning_rate = 0.001
    assert float(optimizer.learning_rate) == pytest.approx(0.001)
    for wrong in ({"factor": 1.0}, {"factor": 0.0}, {"patience": 0}):
        with pytest.raises(InputError, match="optim.schedule: Plateau has factor"):
            Plateau(**wrong)


def test_accumulated_batches_make_the_step_of_their_mean():
    import keras

    made = [Optim(optimizer="sgd", learning_rate=0.1, accumulate=count).build(1, 1) for count in (1, 3)]
    one, several = (keras.Variable([1.0, 2.0]) for _ in range(2))
    made[0].build([one])
    made[1].build([several])
    gradients = [[3.0, 0.0], [0.0, 6.0], [3.0, 3.0]] * 2
    for step in range(2):
        made[0].apply([keras.ops.array([2.0, 3.0])], [one])
        for gradient in gradients[3 * step : 3 * step + 3]:
            made[1].apply([keras.ops.array(gradient)], [several])
        assert several.numpy() == pytest.approx(one.numpy())
    with pytest.raises(InputError, match="optim.accumulate is 0"):
        Optim(accumulate=0)
    with pytest.raises(InputError, match="optim.l2 is -1"):
        Optim(l2=-1.0)
