"""Schedules and optimizers, step by step."""

import pytest

from egokeras.errors import InputError
from egokeras.optim import Cosine, Optim, StepDecay


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
