"""Exact resume: a training that was stopped anywhere and gone on with ends bit for bit like one that was not."""

import csv
import dataclasses
import errno
import json
import shutil
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras import snapshots, train
from egokeras.compress.prune import Pruner, Pruning
from egokeras.data.transforms import Augment, Crop
from egokeras.distill import SKDSRL, Distiller, SelfDistillation, SoftTargets
from egokeras.distill.inputs import run
from egokeras.errors import InputError
from egokeras.losses import cross_entropy, mean_over_known
from egokeras.models import AverageHead, ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Cosine, Optim, Plateau, StepDecay
from egokeras.recipe import Data, Recipe
from egokeras.snapshots import Snapshots

STEPS = 4


class Killed(BaseException):
    """In the place of `kill -9`."""


@pytest.fixture
def kill(monkeypatch):
    """`kill(n)`: the process "dies" while it writes its snapshot number n; what it has written since is returned by reference."""
    save = Snapshots._save

    def arm(number=None):
        written = []

        def deadly(self, *place):
            if len(written) == number:
                raise Killed
            written.append(place)
            save(self, *place)
            self.finish()

        monkeypatch.setattr(Snapshots, "_save", deadly)
        return written

    return arm


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnPast:
    """A method with a net of its own: the student learns from a copy of itself of the epoch before, with its Dropout at work."""

    student: keras.Model

    def networks(self, student):
        past = keras.models.clone_model(student)
        past.trainable = False
        return {"past": past}

    def terms(self, student, nets, inputs, targets, training):
        outputs, past = run(student, inputs, training), run(nets["past"], inputs, True)
        losses = {"ce": mean_over_known(cross_entropy(targets["y"], outputs["y"]), targets["y"])}
        return outputs, losses | {"past": keras.ops.mean((outputs["y"] - past["y"]) ** 2)}

    def on_epoch_end(self, student, nets, epoch, logs):
        nets["past"].set_weights(student.get_weights())


def trained(folder, optimizer, *, epochs=3, patience=None, plateau=False, own_past=False, batch=8, pruning=None):
    """Train a small net with Dropout and BatchNormalization, a snapshot after every batch; goes on where `folder` says."""
    keras.utils.set_random_seed(3)
    x = keras.Input((6,), name="x")
    h = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(8, activation="relu", name="dense")(x))
    student = keras.Model({"x": x}, {"y": keras.layers.Dense(3, name="logits")(keras.layers.Dropout(0.4, name="drop")(h))})
    masked = pruning.kernels(student).values() if pruning else ()
    distiller = Distiller(student, OwnPast(student=student) if own_past else None, masked=masked)
    distiller.compile(optimizer(), top=(1,), jit_compile=False)
    memory = [keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)] if patience else []
    memory += [keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2, min_delta=0.0)] if plateau else []
    state = Snapshots(folder / "snapshots", {"data": 1}, history=folder / "log.csv", memory=memory, seconds=0)
    state.restore(distiller)
    state.restore_history()
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(64, 6)).astype("float32"), random.integers(0, 3, 64).astype("int32")

    def batch_of(step):
        rows = tf.random.stateless_uniform((batch,), tf.stack([5, step]), 0, 64, tf.int32)
        return {"x": tf.gather(inputs, rows)}, {"y": tf.gather(labels, rows)}

    try:
        distiller.fit(
            tf.data.Dataset.counter(state.epoch * STEPS + state.step).map(batch_of),
            epochs=epochs,
            initial_epoch=epochs if state.stopped else state.epoch,
            steps_per_epoch=STEPS,
            validation_data=tf.data.Dataset.from_tensors(({"x": inputs[:20]}, {"y": labels[:20]})),
            callbacks=[
                *([Pruner(pruning)] if pruning else []),
                keras.callbacks.CSVLogger(folder / "log.csv", append=state.found),
                train.callbacks(None, quiet=True, goes_on=False)[0],
                *memory,
                state,
            ],
            verbose=0,
        )
    finally:
        state.finish()
    values = {name: np.array(variable) for name, variable in distiller.state_variables().items()}
    return {name: value for name, value in values.items() if not name.startswith("trackers")}, (folder / "log.csv").read_bytes()


def assert_same(one, other):
    values, log = one
    assert log == other[1] and values.keys() == other[0].keys() and len(values) > 10
    for name in values:
        np.testing.assert_array_equal(values[name], other[0][name], err_msg=name, strict=True)


OPTIMIZERS = {
    "adamw, EMA and a cosine": Optim(optimizer="adamw", learning_rate=0.05, weight_decay=1e-3, schedule=Cosine(), ema=0.9),
    "momentum and clipping": Optim(optimizer="sgd", learning_rate=0.1, clip_norm=0.5),
}


@pytest.mark.parametrize("optim", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_training_killed_at_any_batch_ends_the_same(optim, tmp_path, kill):
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    make = dataclasses.replace(optim).build
    places = kill()
    whole = trained(tmp_path / "whole", lambda: make(STEPS, 3), own_past=True)
    assert places == [place for epoch in range(3) for place in (*((epoch, step) for step in range(1, STEPS)), (epoch + 1, 0))]
    done = 0
    for number in (0, 2, 2, 3, 1):  # before the first, inside an epoch, while one ends ...
        written = kill(number)
        with pytest.raises(Killed):
            trained(tmp_path / "killed", lambda: make(STEPS, 3), own_past=True)
        assert written == places[done : done + number]
        done += number
    kill()
    assert_same(trained(tmp_path / "killed", lambda: make(STEPS, 3), own_past=True), whole)
    assert len(list((tmp_path / "killed" / "snapshots").iterdir())) == 2


def test_a_pruned_training_killed_at_any_batch_ends_the_same(tmp_path, kill):
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    how = {"pruning": Pruning(begin=0.2, end=0.7, every=1), "own_past": True}
    make = OPTIMIZERS["adamw, EMA and a cosine"].build
    kill()
    whole = trained(tmp_path / "whole", lambda: make(STEPS, 3), **how)
    shares = [float(row["sparsity"]) for row in csv.DictReader(whole[1].decode().splitlines())]
    assert 0 < shares[0] < shares[1] == shares[2] == pytest.approx((38 + 19) / 72)  # floor(0.8 * 48) + floor(0.8 * 24)
    for number in (3, 1, 2):  # before weights go, while they go, when they are gone
        kill(number)
        with pytest.raises(Killed):
            trained(tmp_path / "killed", lambda: make(STEPS, 3), **how)
    kill()
    assert_same(trained(tmp_path / "killed", lambda: make(STEPS, 3), **how), whole)
    assert [(~whole[0][f"masks/{number}"]).sum() for number in range(2)] == [38, 19]


def test_a_plateau_is_remembered(tmp_path, kill):
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    how = {"plateau": True, "epochs": 8}
    places = kill()
    whole = trained(tmp_path / "whole", lambda: keras.optimizers.SGD(2.0), **how)
    rates = [values for name, values in whole[0].items() if name.startswith("optimizer/") and values.shape == () and 0 < values < 2]
    assert len(rates) == 1 and rates[0] < 1.1  # it fell at least once
    done = 0
    for number in (5, STEPS + 1, 2 * STEPS, STEPS):
        kill(number)
        with pytest.raises(Killed):
            trained(tmp_path / "killed", lambda: keras.optimizers.SGD(2.0), **how)
        done += number
    assert done < len(places)
    kill()
    assert_same(trained(tmp_path / "killed", lambda: keras.optimizers.SGD(2.0), **how), whole)


def test_early_stopping_remembers_its_best(tmp_path, kill):
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()

    def again(folder):
        return trained(tmp_path / folder, lambda: Optim(learning_rate=0.5).build(STEPS, 20), epochs=20, patience=2)

    places = kill()
    whole = again("whole")
    assert 2 < places[-1][0] < 20  # it stopped, and not on its best
    kill(len(places) - 2)
    with pytest.raises(Killed):
        again("killed")
    kill()
    assert_same(again("killed"), whole)
    written = kill()
    assert_same(again("killed"), whole)  # it had stopped; nothing is trained again
    assert written == []


DAMAGE = {
    "cut": lambda data: data[:-100],
    "flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


def test_a_damaged_snapshot_falls_back_to_the_one_before(tmp_path, kill, capsys):
    def again(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        return trained(tmp_path / folder, lambda: Optim().build(STEPS, 1), epochs=1)

    kill(3)
    with pytest.raises(Killed):
        again("killed")
    kill()
    whole = again("whole")
    for name, damage in DAMAGE.items():
        shutil.copytree(tmp_path / "killed", tmp_path / name)
        last = sorted((tmp_path / name / "snapshots").glob("*.npz"))[-1]
        last.write_bytes(damage(last.read_bytes()))
        written = kill()
        assert_same(again(name), whole)
        assert f"{last} is damaged" in capsys.readouterr().err and written == [(0, 3), (1, 0)]
    for file in (tmp_path / "killed" / "snapshots").glob("*.npz"):
        file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no snapshot is left, train anew without --resume"):
        again("killed")


def test_half_written_snapshots_are_swept_away(tmp_path, kill):
    kill(2)
    with pytest.raises(Killed):
        trained(tmp_path, lambda: Optim().build(STEPS, 1), epochs=1)
    left = tmp_path / "snapshots" / ".epoch-000000-step-000000003.npz.abc"
    left.write_bytes(b"half")
    kill()
    trained(tmp_path, lambda: Optim().build(STEPS, 1), epochs=1)
    assert not left.exists()


def test_the_training_goes_on_while_a_snapshot_is_written(tmp_path, monkeypatch):
    for folder in ("whole", "slow"):
        (tmp_path / folder).mkdir()
    make, moved_on = OPTIMIZERS["adamw, EMA and a cosine"].build, threading.Event()
    whole = trained(tmp_path / "whole", lambda: make(STEPS, 3))
    save, write = Snapshots._save, Snapshots._write

    def only_the_first(self, *place):
        if place == (0, 1):
            save(self, *place)
        elif place == (1, 1):
            moved_on.set()

    def slow(self, *what):
        assert moved_on.wait(60)
        write(self, *what)

    with monkeypatch.context() as context:
        context.setattr(Snapshots, "_save", only_the_first)
        context.setattr(Snapshots, "_write", slow)
        trained(tmp_path / "slow", lambda: make(STEPS, 3))
    assert snapshots.names(tmp_path / "slow" / "snapshots") == ["epoch-000000-step-000000001.npz"]
    assert_same(trained(tmp_path / "slow", lambda: make(STEPS, 3)), whole)  # it holds the state of its moment


def test_a_full_disk_stops_the_training_with_a_sentence(tmp_path, monkeypatch):
    write, written = Snapshots._write, []

    def full(self, file, *what):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        written.append(file.name)
        write(self, file, *what)

    monkeypatch.setattr(Snapshots, "_write", full)
    with pytest.raises(InputError, match="snapshots: No space left on device; free some space and .* with --resume to go on"):
        trained(tmp_path, lambda: Optim().build(STEPS, 3))
    assert snapshots.names(tmp_path / "snapshots") == written[1:]


def test_a_snapshot_is_due_by_time_and_at_the_end(tmp_path, kill, monkeypatch):
    monkeypatch.setattr(snapshots.time, "monotonic", iter(range(1000)).__next__)
    places = kill()
    (tmp_path / "snapshots").mkdir()
    monkeypatch.setattr(
        Snapshots, "__init__", lambda self, *args, _init=Snapshots.__init__, **how: _init(self, *args, **{**how, "seconds": 5})
    )
    trained(tmp_path, lambda: Optim().build(STEPS, 3), epochs=3)
    assert places[-1] == (3, 0) and 1 < len(places) < 6


METHODS = {
    "supervised": {},
    "skd_srl": {
        "method": SKDSRL(projection=16, hidden=8),
        "optim": Optim(optimizer="sgd", l2=1e-3, schedule=Plateau(patience=1), accumulate=2),
    },
    "self_distillation": {"method": SelfDistillation()},
    "soft_targets": {"method": SoftTargets(teacher="teacher")},
}


@pytest.fixture
def recipe(squares):
    return Recipe(
        name="squares",
        data=Data(shards=str(squares.path), augment=Augment(shift=0.1, brightness=0.1)),
        model=FrameModel(backbone=SmallBackbone(channels=(8,)), head=ConvNet1DHead(filters=8, dropout=0.3)),
        optim=Optim(schedule=StepDecay(first=1, every=1)),
        epochs=2,
        batch_size=64,
        early_stopping=2,
        seed=1,
    )


def last_snapshot(folder):
    with np.load(sorted((folder / "snapshots").glob("*.npz"))[-1]) as archive:
        return json.loads(archive["about"].tobytes()), {name: archive[name] for name in archive.files if name != "about"}


@pytest.mark.parametrize(
    "method",
    [
        "supervised",
        pytest.param("skd_srl", marks=pytest.mark.slow),
        "self_distillation",
        pytest.param("soft_targets", marks=pytest.mark.slow),
    ],
)
def test_a_recipe_is_resumed_and_goes_on_for_more_epochs(recipe, method, tmp_path, kill):
    for folder in ("whole", "short", "teacher"):
        (tmp_path / folder).mkdir()
    how = {"quiet": True, "snapshot_seconds": 0}
    kill()
    if method == "soft_targets":
        train.fit(dataclasses.replace(recipe, epochs=1, seed=2), tmp_path / "teacher", **how)
    recipe = dataclasses.replace(recipe, **METHODS[method])
    if method == "skd_srl":
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, crop=Crop(frames=6, size=20)))
    whole = train.fit(recipe, tmp_path / "whole", **how)
    kill(1)
    with pytest.raises(Killed):
        train.fit(dataclasses.replace(recipe, epochs=1), tmp_path / "short", resume=True, **how)
    kill()
    train.fit(dataclasses.replace(recipe, epochs=1), tmp_path / "short", resume=True, **how)
    longer = train.fit(recipe, tmp_path / "short", resume=True, **how)
    for weight, other in zip(whole.get_weights(), longer.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert (tmp_path / "whole" / "history.csv").read_bytes() == (tmp_path / "short" / "history.csv").read_bytes()
    (about, arrays), (about2, arrays2) = last_snapshot(tmp_path / "whole"), last_snapshot(tmp_path / "short")
    assert about == about2 and arrays.keys() == arrays2.keys()
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], arrays2[name], strict=True)


def test_a_student_pruned_while_the_unpruned_one_teaches_it_is_resumed_and_ends_with_its_best_full_epoch(recipe, tmp_path, kill):
    for folder in ("dense", "whole", "killed"):
        (tmp_path / folder).mkdir()
    kill()
    how = {"quiet": True, "snapshot_seconds": 0}
    model = FrameModel(backbone=SmallBackbone(channels=(8, 8)), head=AverageHead())
    model.build(classes={"verb": 2, "noun": 3}, frames=8, size=24).save(tmp_path / "dense" / "model.keras")
    pruning = Pruning(end=0.5, every=1, dense=("conv_1",))
    recipe = Recipe(
        name="pruned", data=Data(shards=recipe.data.shards), model=model, method=SoftTargets(teacher="dense"), start_from=("dense",),
        pruning=pruning, epochs=6, batch_size=64, early_stopping=1,
    )  # fmt: skip
    whole = train.fit(recipe, tmp_path / "whole", **how)
    kill(4)
    with pytest.raises(Killed):
        train.fit(recipe, tmp_path / "killed", resume=True, **how)
    kill()
    resumed = train.fit(recipe, tmp_path / "killed", resume=True, **how)
    for weight, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert (tmp_path / "whole" / "history.csv").read_bytes() == (tmp_path / "killed" / "history.csv").read_bytes()
    about, _ = last_snapshot(tmp_path / "killed")
    assert about["memory"]["EarlyStopping"]["best_epoch"] >= 2  # the first with all zeros
    kernels = pruning.kernels(egokeras.load_model(tmp_path / "killed" / "model.keras"))
    assert len(kernels) == 3 and all((kernel.numpy() == 0).sum() == int(0.8 * kernel.numpy().size) for kernel in kernels.values())


def test_only_the_same_training_is_resumed(recipe, squares, tmp_path):
    videos = sorted(set(squares.clips["video"].tolist()))
    listed = tmp_path / "videos.txt"
    listed.write_text("\n".join(videos))
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, videos=str(listed)))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    train.fit(dataclasses.replace(recipe, epochs=1), run_dir, quiet=True)
    with pytest.raises(InputError, match="holds the snapshots of another training; resume it, or give another folder"):
        train.fit(recipe, run_dir, quiet=True)
    changed = dataclasses.replace(recipe, batch_size=16, optim=Optim(learning_rate=1e-4))
    with pytest.raises(InputError) as caught:
        train.fit(changed, run_dir, resume=True, quiet=True)
    for difference in (
        "optim.learning_rate was 0.001 and is 0.0001",
        "batch_size was 64 and is 16",
        "optim.schedule.first was 1 and is absent",
    ):
        assert difference in str(caught.value)
    moved = tmp_path / "moved"
    shutil.copytree(squares.path, moved)
    paths = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, shards=str(moved)))
    train.fit(paths, run_dir, resume=True, quiet=True)
    with pytest.raises(InputError, match="epochs was 2 and is 1"):
        train.fit(dataclasses.replace(recipe, epochs=1), run_dir, resume=True, quiet=True)
    record = (run_dir / "recipe.json").read_bytes()
    for broken, message in ((b"[]", "is not the recipe of a run"), (None, "recipe.json does not exist")):
        (run_dir / "recipe.json").unlink()
        if broken:
            (run_dir / "recipe.json").write_bytes(broken)
        with pytest.raises(InputError, match=message):
            train.fit(dataclasses.replace(recipe, epochs=3), run_dir, resume=True, quiet=True)
        (run_dir / "recipe.json").write_bytes(record)
    listed.write_text("\n".join(videos[1:]))
    with pytest.raises(InputError, match="is of a training with other clips"):
        train.fit(dataclasses.replace(recipe, epochs=3), run_dir, resume=True, quiet=True)
    assert (run_dir / "recipe.json").read_bytes() == record  # nothing is written before it is known to fit
