"""Features that learn to answer in int8: what the file takes and gives, what stays float, zeros that stay, and who is nearer to Keras."""

import json

import keras
import numpy as np
import pytest

from egokeras.compress.conversion import Conversion, convert
from egokeras.compress.qat import QAT, Training
from egokeras.compress.sparsity import weights
from egokeras.errors import InputError
from egokeras.layers import FoldTime, NormalizePixels, UnfoldTime

pytest.importorskip("tensorflow_model_optimization", reason="extra `compress` is not installed")

TIME, SIZE, COUNT = 2, 16, 64


def pictures_to_features(channels=12):
    """Two thirds of the second convolution are zero, and an ELU, which tensorflow-model-optimization does not know, follows it."""
    keras.utils.set_random_seed(0)
    pictures = keras.Input((SIZE, SIZE, 3), name="pictures")
    x = NormalizePixels((127.5,) * 3, (127.5,) * 3, name="normalize")(pictures)
    for number, strides in enumerate((2, 1), 1):
        x = keras.layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = keras.layers.BatchNormalization(name=f"conv_{number}_bn")(x)
        x = keras.layers.ReLU(name=f"conv_{number}_relu")(x)
    x = keras.layers.ELU(name="elu")(x)
    model = keras.Model(pictures, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    kernel, rng = model.get_layer("conv_2").kernel, np.random.default_rng(0)
    kept = rng.uniform(size=kernel.shape) < 1 / 3
    kernel.assign(kernel.numpy() * kept * 3)
    return model


def clips(count, seed, flashes=0):
    """Dull clips of squares, (count, TIME, SIZE, SIZE, 3) uint8, of which the first `flashes` have 12 times the contrast."""
    rng = np.random.default_rng(seed)
    contrast = np.where(np.arange(count) < flashes, 120, 10).reshape(-1, 1, 1, 1, 1)
    coarse = 128 + contrast * rng.uniform(-1, 1, (count, TIME, SIZE // 4, SIZE // 4, 3))
    return coarse.astype(np.uint8).repeat(4, axis=2).repeat(4, axis=3)


def networks(folder):
    """Clip to features, features to logits, and a training of them in `folder`."""
    frames, clip = pictures_to_features(), keras.Input((TIME, SIZE, SIZE, 3), dtype="uint8", name="rgb")
    features = keras.Model({"rgb": clip}, {"features": UnfoldTime(TIME)(frames(FoldTime()(clip)))})
    given = keras.Input((TIME, 12), name="features")
    centred = keras.layers.BatchNormalization(name="centred")
    answer = keras.layers.Dense(5, name="verb")(keras.layers.GlobalAveragePooling1D()(centred(given)))
    head = keras.Model({"features": given}, {"verb": answer})
    learned = clips(COUNT, seed=1, flashes=1)
    found = features.predict({"rgb": learned}, verbose=0)["features"]
    centred.set_weights([np.full(12, 2.0), np.zeros(12), found.mean((0, 1)), found[1:].var((0, 1))])  # what is dull counts as well
    frames.save(folder / "frames.keras")
    head.save(folder / "head.keras")
    features.save(folder / "features.keras")
    np.save(folder / "clips.npy", learned)
    np.save(folder / "verb.npy", head.predict({"features": found}, verbose=0)["verb"])
    training = Training(
        qat=QAT(epochs=4, batch_size=8, learning_rate=1e-4, preserve_sparsity=True),
        frames=str(folder / "frames.keras"),
        head=str(folder / "head.keras"),
        clips=str(folder / "clips.npy"),
        targets={"verb": str(folder / "verb.npy")},
        time=TIME,
        seed=0,
        report=str(folder / "report.json"),
    )
    return features, head, training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The networks, the file `trained.tflite` and the report of one training."""
    folder = tmp_path_factory.mktemp("qat")
    features, head, training = networks(folder)
    model, file = str(folder / "features.keras"), str(folder / "trained.tflite")
    assert convert([Conversion(model=model, outputs=("features",), kind="int8", file=file, training=training)]) == [None]
    return folder, features, head, json.loads((folder / "report.json").read_text())


def error(folder, name, features, head):
    """Mean difference of logits between a file's features and Keras', on clips that none has learned from, relative to their deviation."""
    from ai_edge_litert.interpreter import Interpreter

    judged, runner = clips(48, seed=2), Interpreter(str(folder / name)).get_signature_runner()
    found = np.concatenate([runner(rgb=clip[None])["features"] for clip in judged])
    expected = head(features({"rgb": judged}))["verb"].numpy()
    return float(np.abs(head({"features": found})["verb"].numpy() - expected).mean() / expected.std(axis=0).mean())


def test_the_file_takes_uint8_and_computes_in_int8(trained):
    from ai_edge_litert.interpreter import Interpreter

    folder, *_ = trained
    interpreter = Interpreter(str(folder / "trained.tflite"))
    runner = interpreter.get_signature_runner("serving_default")
    pixels, answers = runner.get_input_details()["rgb"], runner.get_output_details()["features"]
    assert pixels["dtype"] == np.uint8 and pixels["shape"].tolist() == [1, TIME, SIZE, SIZE, 3] and pixels["quantization"] == (1.0, 0)
    assert answers["dtype"] == np.float32 and answers["shape"].tolist() == [1, TIME, 12]
    kernels = [tensor for tensor in weights((folder / "trained.tflite").read_bytes()) if tensor.values.ndim == 4]
    assert len(kernels) == 3 and all(tensor.values.dtype == np.int8 for tensor in kernels)  # the normalization is one


def test_what_stays_float_is_said_and_the_loss_falls(trained):
    *_, report = trained
    assert report["float_layers"] == ["elu"] and report["epochs"] == 4 and report["preserve_sparsity"] is True
    assert len(report["losses"]) == 4 and report["losses"][-1] < report["losses"][0]


def test_zeros_stay_zeros(trained):
    folder, features, *_ = trained
    kernel = features.layers[-2].get_layer("conv_2").kernel.numpy().transpose(3, 0, 1, 2)  # TFLite has the outputs first
    content = (folder / "trained.tflite").read_bytes()
    (found,) = [tensor for tensor in weights(content) if tensor.values.shape == kernel.shape and tensor.values.ndim == 4]
    assert (kernel == 0).mean() > 0.6 and not found.values[kernel == 0].any()
    assert (found.values[kernel != 0] != 0).mean() > 0.8


def test_it_is_nearer_to_keras_than_quantization_after_training(trained, convert_here):
    """Which is bad here: one flash among its examples sets the ranges of all."""
    folder, features, head, _ = trained
    file, calibration = str(folder / "after.tflite"), {"rgb": str(folder / "clips.npy")}
    plain = Conversion(model=str(folder / "features.keras"), outputs=("features",), kind="int8", file=file, calibration=calibration)
    convert_here([plain])
    after, aware = error(folder, "after.tflite", features, head), error(folder, "trained.tflite", features, head)
    assert after > 0.1 and aware < after, (after, aware)


def test_a_training_that_takes_too_long_is_stopped(tmp_path):
    _, _, training = networks(tmp_path)
    slow = Training(**{**training.__dict__, "qat": QAT(hours=0.5 / 3600)})
    (refused,) = convert([Conversion(model="m", outputs=("features",), kind="int8", file=str(tmp_path / "x.tflite"), training=slow)])
    assert "the quantization-aware training was stopped after" in str(refused)
    assert not list(tmp_path.glob("x*")) and not list(tmp_path.glob("report*"))


@pytest.mark.parametrize("field", ["clips", "epochs", "batch_size", "learning_rate", "temperature", "hours"])
def test_nonsense_is_refused(field):
    with pytest.raises(InputError, match=rf"qat.{field} is 0; give more than 0"):
        QAT(**{field: 0})
