"""Features of a frozen backbone: computed once for equal networks, to the same bytes whatever interrupts, refused where stale."""

import contextlib
import dataclasses
import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras import features
from egokeras.commands.verify import findings
from egokeras.data.input_pipeline import stream
from egokeras.data.shards import Shards
from egokeras.distill import Distiller
from egokeras.errors import InputError
from egokeras.features import cached, view_rows
from egokeras.models import AverageHead

CLIP_BYTES = 8 * 3 * 2


@dataclasses.dataclass(frozen=True)
class Brighter:
    """Adds 10 times the view, and the row modulo 8."""

    by: int = 10

    def __call__(self, clips, keys):
        return clips + tf.cast(self.by * keys[:, 1] + keys[:, 2] % 8 + keys[:, 0], tf.uint8)[:, None, None, None, None]


def backbone(scale=0.01):
    """Brightness of every frame; its layers have names that Keras made up."""
    rgb = keras.Input((8, 24, 24, 3), dtype="uint8", name="rgb")
    pooled = keras.layers.AveragePooling3D((1, 24, 24))(keras.layers.Rescaling(scale)(rgb))
    return keras.Model({"rgb": rgb}, keras.layers.Reshape((8, 3))(pooled), name="backbone")


def weighted(gain=1.0, dtype=None):
    """The same with a weight, and features of some dtype."""
    rgb = keras.Input((8, 24, 24, 3), dtype="uint8", name="rgb")
    pooled = keras.layers.Reshape((8, 3))(keras.layers.AveragePooling3D((1, 24, 24))(keras.layers.Rescaling(0.01)(rgb)))
    features = keras.layers.Reshape((8, 3), dtype=dtype, name="features")(keras.layers.Dense(3, name="dense")(pooled))
    model = keras.Model({"rgb": rgb}, features, name="backbone")
    model.get_layer("dense").set_weights([gain * np.eye(3), np.zeros(3)])
    model.trainable = False
    return model


@pytest.fixture
def small_shards(monkeypatch):
    """Five batches to a shard, as a sixth does not fit whole: 220 clips in 6 shards."""
    monkeypatch.setattr(features, "SHARD_BYTES", (5 * features.BATCH + 3) * CLIP_BYTES)


def contents(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def stopping(model, batch, error):
    """`model`, which raises `error` before it computes a batch of that number; returns what puts it right again."""
    predict, model.computed = model.predict_on_batch, 0

    def predict_some(inputs):
        if model.computed == batch:
            raise error
        model.computed += 1
        return predict(inputs)

    model.predict_on_batch = predict_some
    return lambda: setattr(model, "predict_on_batch", predict)


def test_equal_networks_share_their_features(squares, tmp_path, capfd):
    first, again = backbone(), backbone()
    assert [layer.name for layer in first.layers] != [layer.name for layer in again.layers]
    found = cached(first, squares, tmp_path / "features")
    assert f"features of 220 clips, 0.00 GB, go to {found.path} for later trainings" in capfd.readouterr().err
    again.predict_on_batch = None
    assert cached(again, squares, tmp_path / "features").path == found.path
    assert cached(again, squares, found.path).path == found.path  # the very folder, given by hand
    assert capfd.readouterr().err == ""
    assert cached(backbone(0.02), squares, tmp_path / "features").path != found.path
    assert "(1 other sets there take 0.0 GB)" in capfd.readouterr().err
    assert len(found) == 220 and found.modality == "features"  # without the windows
    np.testing.assert_allclose(found.read(np.arange(20)), 0.01 * squares.read(np.arange(20)).mean((2, 3)), atol=2e-3)
    np.testing.assert_array_equal(found.rows("validation"), squares.rows("validation"))
    assert {path.name for path in found.path.iterdir()} == {"index.json", "clips.npy", "shard-00000.npy"}
    assert not list(findings(found.path))


@pytest.mark.parametrize("batch", [0, 4, 5, 13, 27])
def test_what_is_interrupted_goes_on_to_the_same_bytes(squares, tmp_path, small_shards, capfd, batch):
    whole, model = cached(backbone(), squares, tmp_path / "whole"), backbone()
    assert len(whole.index["shards"]) == 6
    restore = stopping(model, batch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cached(model, squares, tmp_path / "again")
    restore()
    finished = (batch - 1) // 5 if batch else 0
    (folder,) = (tmp_path / "again").iterdir()
    assert sorted(contents(folder)) == [".checksums", *(f"shard-{number:05d}.npy" for number in range(finished))]
    computed = []
    predict = model.predict_on_batch
    model.predict_on_batch = lambda inputs: computed.append(0) or predict(inputs)
    again = cached(model, squares, tmp_path / "again")
    assert len(computed) == 28 - 5 * finished
    assert contents(again.path) == contents(whole.path)
    assert (f"going on, {40 * finished} are done" in capfd.readouterr().err) == (finished > 0)


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import test_features
from egokeras import features
from egokeras.data.shards import Shards
features.SHARD_BYTES = 5 * features.BATCH * test_features.CLIP_BYTES
model, seen = test_features.backbone(), iter(range(100))
predict = model.predict_on_batch
model.predict_on_batch = lambda inputs: predict(inputs) if next(seen) < 13 else os.kill(os.getpid(), signal.SIGKILL)
features.cached(model, Shards(sys.argv[3]), sys.argv[4])
"""


def test_kill_9_costs_one_shard_and_no_byte(squares, tmp_path, root, small_shards):
    arguments = [root / "tests", root, squares.path, tmp_path / "again"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = (tmp_path / "again").iterdir()
    left = {path.name for path in folder.iterdir()}
    assert left > {".lock", ".checksums", "shard-00000.npy", "shard-00001.npy"} and any(name.startswith(".shard-00002") for name in left)
    assert contents(cached(backbone(), squares, tmp_path / "again").path) == contents(cached(backbone(), squares, tmp_path / "whole").path)


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "no checksums"])
def test_a_finished_shard_that_was_altered_is_made_again(squares, tmp_path, small_shards, damage):
    model = backbone()
    restore = stopping(model, 20, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cached(model, squares, tmp_path / "again")
    restore()
    shard = next((tmp_path / "again").rglob("shard-00001.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content if damage == "bit" else content[:-5])
    if damage == "gone":
        shard.unlink()
    if damage == "no checksums":
        (shard.parent / ".checksums").unlink()
    assert contents(cached(model, squares, tmp_path / "again").path) == contents(cached(backbone(), squares, tmp_path / "whole").path)


def test_two_trainings_at_once_compute_once(squares, tmp_path, capfd):
    computed, found, models = [], [], [backbone(), backbone()]

    def counting(predict):
        return lambda inputs: computed.append(0) or predict(inputs)

    for model in models:
        model.predict_on_batch = counting(model.predict_on_batch)
    threads = [threading.Thread(target=lambda model=model: found.append(cached(model, squares, tmp_path))) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2 and found[0].path == found[1].path and len(computed) == 28
    assert not (found[0].path / ".lock").exists() and "waiting for another training" in capfd.readouterr().err


def test_stale_features_are_refused(squares, tmp_path):
    found = cached(weighted(), squares, tmp_path)
    with pytest.raises(InputError, match=r"made from other things: weights of the backbone \(.{8} there, .{8} here\); delete it"):
        cached(weighted(2.0), squares, found.path)
    with pytest.raises(InputError, match=r"things: backbone \([^;]*; weights of the backbone \([^;]*; delete it"):
        cached(backbone(), squares, found.path)
    with pytest.raises(InputError, match=r"things: views \(0 there, 1 here\); augmentation \(None there, Brighter\(by=10\) here\)"):
        cached(weighted(), squares, found.path, augment=Brighter(), views=1, rows=[3])
    prepared = Shards(squares.path)
    prepared.index, prepared.sha256 = {**prepared.index, "resize": "crop"}, "0" * 64
    with pytest.raises(InputError, match=r"clips \(.{8} there, 00000000 here\); preparation, resize \(squash there, crop here\); delete"):
        cached(weighted(), prepared, found.path)
    with pytest.raises(InputError, match="holds rgb and no cached features; delete it"):
        cached(weighted(), squares, squares.path)


def test_other_versions_are_refused(squares, tmp_path, monkeypatch):
    found = cached(backbone(), squares, tmp_path)
    monkeypatch.setattr(keras, "__version__", "4.0")
    with pytest.raises(InputError, match=r"things: keras \(3\..* there, 4.0 here\)"):
        cached(backbone(), squares, found.path)
    assert cached(backbone(), squares, tmp_path).path != found.path


def test_a_folder_of_the_right_name_with_other_features_is_refused(squares, tmp_path):
    first, second = cached(backbone(), squares, tmp_path), cached(backbone(0.02), squares, tmp_path)
    first.path.rename(tmp_path / "aside")
    second.path.rename(first.path)
    with pytest.raises(InputError, match=r"features-.* holds features made from other things: backbone \("):
        cached(backbone(), squares, tmp_path)


def test_views_are_augmented_copies_in_no_split(squares, tmp_path, small_shards):
    rows = np.array([3, 2, 30, 150])
    found = cached(backbone(), squares, tmp_path, augment=Brighter(), views=3, rows=rows, seed=5)
    assert len(found) == 220 + 3 * 4 and len(found.index["shards"]) == 6
    for split in ("train", "validation"):
        np.testing.assert_array_equal(found.rows(split), squares.rows(split))
    where = view_rows(found, rows[:3])
    assert where.shape == (3, 3) and len(set(where.ravel())) == 9 and where.min() >= 220
    for view in range(3):
        for row, copy in zip(rows[:3], where[view], strict=True):
            clip = squares.read([row])[0].astype(int) + 10 * view + row % 8 + 5
            np.testing.assert_allclose(found.read([copy])[0], 0.01 * (clip % 256).mean((1, 2)), atol=2e-3)
            assert found.clips["uid"][copy] == f"c{row}, view {view}" and found.labels("noun", copy) == squares.labels("noun", row)
    assert not list(findings(found.path))
    with pytest.raises(ValueError, match="some of the rows have no copies"):
        view_rows(found, [4])
    with pytest.raises(InputError, match=r"copied clips \(.{8} there, .{8} here\); seed of the copies \(5 there, 6 here\)"):
        cached(backbone(), squares, found.path, augment=Brighter(), views=3, rows=rows[:3], seed=6)


def test_views_are_interrupted_like_clips_and_more_than_once(squares, tmp_path, small_shards):
    copies = {"augment": Brighter(), "views": 2, "rows": np.arange(50)}
    whole, model = cached(backbone(), squares, tmp_path / "whole", **copies), backbone()
    for batches in (20, 14, 99):  # 15 of them end in finished shards, then 10 more, then the last 15
        restore = stopping(model, batches, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt) if batches < 99 else contextlib.nullcontext():
            cached(model, squares, tmp_path / "again", **copies)
        restore()
    assert model.computed == 15
    (folder,) = (tmp_path / "again").iterdir()
    assert contents(folder) == contents(whole.path)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0), ("float32", 0.005)])
def test_a_head_trained_on_features_is_that_trained_on_frames(squares, tmp_path, dtype, tolerance):
    """The same order, the same start, Dropout: 40 steps on frames through the frozen backbone, and on its cached features."""
    classes, rows = {"verb": 2, "noun": 3}, squares.rows("train")
    outputs = {}
    for kind in ("frames", "features"):
        keras.utils.set_random_seed(3)
        frozen, head = weighted(dtype=dtype), AverageHead().build(feature_shape=(8, 3), classes=classes)
        whole = keras.Model(frozen.input, head({"features": frozen(frozen.input)}))
        source = squares if kind == "frames" else cached(frozen, squares, tmp_path)
        distiller = Distiller(whole if kind == "frames" else head)
        distiller.compile(keras.optimizers.Adam(0.05))
        distiller.fit(stream(source, rows, heads=tuple(classes), batch_size=16, seed=0), epochs=1, steps_per_epoch=40, verbose=0)
        outputs[kind] = whole.predict({"rgb": squares.read(squares.rows("validation"))}, verbose=0)
    for space in classes:
        assert np.ptp(outputs["frames"][space]) > 0.1
        np.testing.assert_allclose(outputs["features"][space], outputs["frames"][space], rtol=0, atol=tolerance)


def test_a_full_disk_is_said_before_the_work(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(InputError, match="the features take .* cache_features=False"):
        cached(backbone(), squares, tmp_path)


def test_a_disk_that_fills_meanwhile_is_said_and_gone_on_from(squares, tmp_path, small_shards):
    model = backbone()
    restore = stopping(model, 20, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(InputError, match="No space left on device; free some space and run the same command again to go on"):
        cached(model, squares, tmp_path)
    restore()
    assert len(list(tmp_path.rglob("shard-*.npy"))) == 3
    assert len(cached(model, squares, tmp_path)) == 220


def test_features_beyond_float16_are_refused(squares, tmp_path):
    with pytest.raises(InputError, match=r"float16 cannot hold the feature .*e\+06; train on frames with cache_features=False"):
        cached(backbone(1e5), squares, tmp_path)
