"""Files made to do harm: each plants a canary, a folder that running its code would make or a port that fetching would reach."""

import base64
import contextlib
import html.parser
import io
import json
import marshal
import os
import pickle
import shutil
import socket
import zipfile
import zlib

import numpy as np
import pytest

import egokeras
from egokeras import cli, report
from egokeras.commands import verify
from egokeras.data import action_folders, prepare, readers, shards, video, video_files
from egokeras.data.segments import Segment
from egokeras.data.shards import Shards, ShardWriter
from egokeras.device import frame_sources
from egokeras.device.artifact import Artifact
from egokeras.errors import InputError
from egokeras.files import sha256, write_json
from egokeras.report import page

NAMES = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "' onload='x", "=cmd|' /C calc'!A1", "]]>-->",
    "$\\frac{$", "100%s %n {0} \\N{DEL}", "&lt;b&gt;", "a" * 300, "Ä ö\u00a0漢字 🍳",
)  # fmt: skip
CONTROL = ("two\nlines", "\x1b[2Jclear", "carriage\rreturn", "\x9b31m", "right\u202eleft", "nul\0", "line\u2028separator")


class Bomb:
    """Unpickling it makes the canary."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path):
    """A path that must not come into being, whatever the test feeds to the code."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.fixture
def listening():
    """Port of a local server that nobody may ask."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


def objects(canary):
    """A `.npy` file with a pickle in it, and a bare pickle."""
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb(canary)], dtype=object), allow_pickle=True)
    return stream.getvalue(), pickle.dumps(Bomb(canary))


def seal(path, change):
    """Change an index and seal it again, as whoever makes a set can."""
    index = json.loads((path / "index.json").read_text())
    change(index)
    del index["seal"]
    write_json(path / "index.json", {**index, "seal": shards.seal(index)})


def write_set(path):
    path.mkdir()
    clips = np.random.default_rng(0).integers(0, 255, (4, 2, 8, 8, 3), dtype=np.uint8)
    writer = ShardWriter(path, shape=clips.shape[1:])
    table = np.zeros(4, shards.table_dtype(2, 1, 1, ["action"]))
    for n, clip in enumerate(clips):
        table[n] = (f"u{n}", "abcd"[n], "", 0, 1, *writer.append(clip), zlib.crc32(clip), 1 + n % 2, n % 2)
    about = {"modality": "rgb", "classes": {"action": ["x", "y"]}, "splits": ["train", "validation"], "quarantined": 0}
    writer.finish(table, about)
    return path


def test_canary_sings(tmp_path):
    """Unpickling does run code, else nothing here would prove anything."""
    for number, data in enumerate(objects(tmp_path / "canary")):
        with io.BytesIO(data) as stream:
            np.load(stream, allow_pickle=True)
        (tmp_path / "canary").rmdir()
        assert number in (0, 1)


@pytest.mark.parametrize("bare", [0, 1])
def test_shards_and_tables_never_unpickle(tmp_path, canary, bare):
    data = objects(canary)[bare]
    path = write_set(tmp_path / "table")
    (path / "clips.npy").write_bytes(data)
    seal(path, lambda index: index["table"].update(sha256=sha256(path / "clips.npy")))
    with pytest.raises(InputError, match=r"clips\.npy"):
        Shards(path)
    path = write_set(tmp_path / "shard")
    (path / "shard-00000.npy").write_bytes(data)
    seal(path, lambda index: index["shards"][0].update(bytes=len(data)))
    with pytest.raises(InputError, match=r"shard-00000\.npy"):
        Shards(path).read([0])


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/hostname", "shard-00000.npy/../../outside.npy", "sub/shard-00000.npy"])
def test_an_index_names_no_file_outside(tmp_path, name):
    path = write_set(tmp_path / "set")
    shutil.copy(path / "shard-00000.npy", tmp_path / "outside.npy")
    seal(path, lambda index: index["shards"][0].update(file=name))
    with pytest.raises(InputError, match=r"index\.json"):
        Shards(path)


def test_archives_of_a_run_never_unpickle(tmp_path, canary, capsys):
    write_json(tmp_path / "recipe.json", {"data": {}})
    for number, data in enumerate(objects(canary)):
        for name in ("predictions.npz", "snapshots/epoch-000001-step-000000001.npz"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("uid.npy", data)
        assert cli.main(["verify", str(tmp_path), "--json"]) == 1
        said = json.loads(capsys.readouterr().out)["findings"]
        assert sum("npz is damaged" in finding for finding in said) == 2, number
        with pytest.raises(InputError, match=r"predictions\.npz") if number == 0 else contextlib.nullcontext():
            report.write(tmp_path)  # what is no array at all is bytes for NumPy
    (tmp_path / "predictions.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"predictions\.npz"):
        report.write(tmp_path)


def test_a_small_archive_cannot_ask_for_much_memory(tmp_path, monkeypatch):
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    header += b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    write_json(tmp_path / "recipe.json", {"data": {}})
    with zipfile.ZipFile(tmp_path / "predictions.npz", "w") as archive:
        archive.writestr("uid.npy", header + bytes(80))
    with pytest.raises(InputError, match=r"predictions\.npz"):
        report.write(tmp_path)
    assert any("predictions.npz is damaged (uid.npy" in finding for finding in verify.findings(tmp_path))
    np.savez_compressed(tmp_path / "predictions.npz", uid=np.zeros(10_000))
    monkeypatch.setattr(report, "MOST_BYTES", 10_000)
    with pytest.raises(InputError, match=r"would take 0\.0 GB"):
        report.write(tmp_path)


# --- models


def lambda_layer(canary):
    """A `Lambda` whose bytecode makes the canary."""
    code = compile(f"__import__('os').mkdir({str(canary)!r})", "canary", "exec")
    packed = {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None}
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"name": "d", "function": {"class_name": "__lambda__", "config": packed}},
    }


def foreign(module, class_name, /, **config):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    import keras

    path = tmp_path_factory.mktemp("model") / "model.keras"
    rgb = keras.Input((4,), name="rgb")
    keras.Model(rgb, keras.layers.Dense(2, activation="relu", name="d")(rgb)).save(path)
    return path


def doctored(model_file, path, change, members=()):
    """A copy of a model whose configuration was changed, with more members."""
    with zipfile.ZipFile(model_file) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            data = archive.read(name)
            out.writestr(name, json.dumps(change(json.loads(data))) if name == "config.json" else data)
        for name, data in members:
            out.writestr(name, data)
    return path


def with_layer(config):
    def change(model):
        layer = next(layer for layer in model["config"]["layers"] if layer["class_name"] == "Dense")
        layer.update(config)
        return model

    return change


def with_activation(config):
    def change(model):
        next(layer for layer in model["config"]["layers"] if layer["class_name"] == "Dense")["config"]["activation"] = config
        return model

    return change


@pytest.mark.parametrize(
    "attack",
    [
        lambda canary: with_layer(lambda_layer(canary)),
        lambda canary: with_layer(foreign("os", "system", command=f"mkdir {canary}")),
        lambda canary: with_layer(foreign("subprocess", "Popen", args=["mkdir", str(canary)])),
        lambda canary: lambda model: foreign("subprocess", "Popen", args=["mkdir", str(canary)]),
        lambda canary: lambda model: foreign("os", "mkdir", path=str(canary)),
        lambda canary: with_activation(function("os", "mkdir")),
        lambda canary: with_activation(function("builtins", "exec")),
        lambda canary: with_layer(foreign("keras.utils", "get_file", fname=str(canary), origin="file:///etc/hostname")),
        lambda canary: lambda model: foreign("egokeras.files", "run_file", path=str(canary)),
        lambda canary: lambda model: foreign("keras.config", "enable_unsafe_deserialization"),
        lambda canary: with_layer(foreign("keras.layers", "TFSMLayer", name="d", filepath=str(canary))),
        lambda canary: with_layer(foreign("keras.layers", "StringLookup", name="d", vocabulary="/etc/hostname")),
        lambda canary: lambda model: [model],
    ],
)
def test_models_run_no_code_and_read_no_file(tmp_path, model_file, canary, attack):
    path = doctored(model_file, tmp_path / "model.keras", attack(canary))
    with pytest.raises(InputError, match=r"model\.keras"):
        egokeras.load_model(path)


def test_members_of_a_model_stay_inside(tmp_path, model_file, canary):
    members = [(name, "x") for name in ("../canary", str(canary), "assets/../../canary")]
    with pytest.warns(UserWarning, match="Skipping invalid path"):
        egokeras.load_model(doctored(model_file, tmp_path / "model.keras", lambda model: model, members))


@pytest.mark.parametrize("how", ["external", "link"])
def test_weights_are_in_their_own_file(tmp_path, how):
    import h5py
    import keras

    from egokeras.models import Backbone

    source = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35, input_shape=(None, None, 3))
    path, secret = tmp_path / "w.weights.h5", tmp_path / "secret.h5"
    source.save_weights(path)
    shape = source.get_weights()[0].shape
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros(shape, "float32")
    with h5py.File(path, "r+") as file:
        place = "layers/conv2d/vars/0"
        assert file[place].shape == shape
        del file[place]
        if how == "external":
            file.create_dataset(place, shape, "float32", external=[(str(secret), 0, 4 * int(np.prod(shape)))])
        else:
            file[place] = h5py.ExternalLink(str(secret), "/x")
    with pytest.raises(InputError, match=r"backbone\.weights"):
        Backbone(alpha=0.35, weights=str(path)).build(frames=1, size=32, pool=True)


# --- descriptions


def artifact(folder, **changes):
    folder.mkdir(exist_ok=True)
    model = folder / "model.tflite"
    model.write_bytes(b"weights")
    about = {
        "format": 2, "name": "int8", "quantization": "int8",
        "parts": [{"file": "model.tflite", "signature": "serving_default", "quantization": "int8"}],
        "files": {"model.tflite": {"sha256": sha256(model), "bytes": 7}},
        "inputs": {"rgb": {"shape": [1, 2, 8, 8, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}},
        "outputs": {"action": ["x", "y"]}, "sampling": {"rule": "uniform", "frames": 2, "clip_seconds": 1.0},
    }  # fmt: skip
    write_json(folder / "artifact.json", {**about, **changes})
    return folder


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", "", "c:secret", "a\\..\\secret", "link"])
def test_an_artifact_is_one_folder(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"weights")
    folder = artifact(tmp_path / "artifact")
    (folder / "link").symlink_to(tmp_path / "secret")
    part = {"file": name, "signature": "serving_default", "quantization": "int8"}
    artifact(folder, parts=[part], files={name: {"sha256": sha256(tmp_path / "secret"), "bytes": 7}})
    with pytest.raises(InputError, match=r"outside the artifact's folder|which no artifact can have"):
        Artifact.open(folder)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[" + "9" * 10_000 + "]", '{"a": 1', "\xff\xfe"])
def test_json_that_is_made_to_break_its_reader(tmp_path, text):
    folder = artifact(tmp_path / "artifact")
    (folder / "artifact.json").write_text(text)
    with pytest.raises(InputError, match=r"artifact\.json is not valid JSON"):
        Artifact.open(folder)
    path = write_set(tmp_path / "set")
    (path / "index.json").write_text(text)
    with pytest.raises(InputError, match=r"index\.json is not valid JSON"):
        Shards(path)


@pytest.mark.parametrize("name", CONTROL)
def test_names_that_a_terminal_would_obey_are_refused(tmp_path, name):
    artifact(tmp_path / "fine", outputs={"action": [*NAMES]})
    assert Artifact.open(tmp_path / "fine").classes == {"action": [*NAMES]}
    for changes in ({"outputs": {"action": ["x", name]}}, {"outputs": {name: ["x"]}}, {"name": name}):
        with pytest.raises(InputError, match="no artifact can have"):
            Artifact.open(artifact(tmp_path / "artifact", **changes))
    own = tmp_path / "own.py"
    for field, changed in (("uid", {"uid": name}), ("group", {"group": name}), ("action", {"labels": {"action": name}})):
        first = {"uid": "a", "video": "a", "labels": {"action": "x"}, **changed}
        second = {"uid": "b", "video": "b", "labels": {"action": "y"}}
        own.write_text(
            f"from egokeras.data.segments import Segment\ndef read(paths): yield Segment(**{first!r}); yield Segment(**{second!r})\n"
        )
        with pytest.raises(InputError, match=f"{field} .* control character") as error:
            readers.read(f"{own}:read", [tmp_path])
        assert name not in str(error.value)


def test_messages_do_not_reach_the_terminal_raw(tmp_path, capsys):
    assert cli.main(["verify", str(tmp_path / "\x1b[2Jclear\n\x9b31m")]) == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x9b" not in said and said.count("\n") == 1
    assert r"\x1b[2Jclear\n\x9b31m holds neither" in said


def test_a_run_folder_is_data(tmp_path, canary):
    code = f"__import__('os').mkdir({str(canary)!r})"
    recipe = {"is": code, "data": {"is": code, "shards": code}, "model": {"is": "Lambda", "function": code}, "__class__": code}
    write_json(tmp_path / "recipe.json", recipe)
    for name in ("recipe.py", "conftest.py", "sitecustomize.py", "keras.py", "sections.py"):
        (tmp_path / name).write_text(code)
    assert code.replace("'", "&#x27;") in report.write(tmp_path).read_text()
    assert list(verify.findings(tmp_path)) == [f"{tmp_path} is not finished; run its `egokeras train` again."]


def test_pipes_do_not_hang(tmp_path):
    write_json(tmp_path / "recipe.json", {"data": {}})
    (tmp_path / "exports" / "a").mkdir(parents=True)
    for name in (
        "metrics.json",
        "classes.json",
        "latency.json",
        "predictions.npz",
        "model.keras",
        "exports/a/artifact.json",
        "history.csv",
    ):
        os.mkfifo(tmp_path / name)
    assert list(verify.findings(tmp_path))
    assert report.write(tmp_path).is_file()
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(video.VideoError, match="empty"):
        video.index(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="not a file"), frame_sources.video(tmp_path / "a.mp4"):
        pass


# --- videos


def film(path):
    """A video of five black frames."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return path


def playlists(port, secret):
    """Texts that make FFmpeg open other files, beside them too, or hosts, by name."""
    url = f"http://127.0.0.1:{port}/a"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}.ts\n#EXT-X-ENDLIST\n",
        "hls of files": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{url}.mp4'\nfile '{secret}'\n",
        "concat of a neighbour": f"ffconcat version 1.0\nfile '{secret.name}'\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}.mp4</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "rtsp": f"rtsptext\nrtsp://127.0.0.1:{port}/a\n",
        "smil": f'<smil><body><video src="{url}.mp4"/></body></smil>',
        "reference": f"[Reference]\nRef1={url}.asf\n",
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}.png"/></svg>',
    }


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd", ".avi", ".gif", ".ts", ".sdp"])
def test_videos_are_local_files(tmp_path, listening, suffix):
    secret = film(tmp_path / "secret.mp4")
    for number, text in enumerate(playlists(listening, secret).values()):
        path = tmp_path / f"{number}{suffix}"
        path.write_text(text)
        with pytest.raises(video.VideoError, match=r"cannot be decoded|no video stream|no frame"):
            video.index(path)
        with pytest.raises(InputError), frame_sources.video(path) as (frames, _):
            next(iter(frames))


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:{}/a.mp4", "tcp://127.0.0.1:{}", "concat:a.mp4|b.mp4", "pipe:0", "data:video/mp4;base64,AA"]
)
def test_names_are_not_addresses(tmp_path, listening, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(video.VideoError, match="No such file"):
        video.index(name.format(listening))


@pytest.mark.parametrize(
    "name", ["a%03d.mp4", "100% a b.mp4", "-i.mp4", "a;$(touch x)`y`.mp4", "[a]{b}*?.mp4", "ä 漢.mp4", "file:a.mp4", "a'\".mp4"]
)
def test_strange_file_names_are_just_names(tmp_path, name):
    film(tmp_path / "made.mp4").rename(tmp_path / name)
    assert video_files.find([name], tmp_path)[name] == tmp_path / name
    assert len(list(video.decode(video.index(tmp_path / name), range(5)))) == 5
    with frame_sources.video(tmp_path / name) as (frames, _):
        assert len(list(frames)) == 5


# --- annotations

EPIC_CLASSES = "id,key,category\n0,take,retrieve\n1,put,leave\n"
OUTSIDE = ("../secret", "/etc/secret", "a/../../secret", "..\\secret", "C:\\secret", "./../secret")


def epic100(folder, video):
    (folder / "EPIC_100_verb_classes.csv").write_text(EPIC_CLASSES)
    (folder / "EPIC_100_noun_classes.csv").write_text(EPIC_CLASSES)
    path = folder / "EPIC_100_train.csv"
    columns = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    path.write_text(f"{columns}\na,P01,{video},00:00:01.00,00:00:02.00,0,1\nb,P01,P01_02,00:00:01.00,00:00:02.00,1,0\n")
    return "epic100", [path]


def epic55(folder, video):
    for space in ("verb", "noun"):
        (folder / f"EPIC_{space}_classes.csv").write_text(f"{space}_id,class_key\n0,take\n1,put\n")
    path = folder / "EPIC_train_action_labels.csv"
    columns = "uid,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    path.write_text(f"{columns}\n0,P01,{video},00:00:01.00,00:00:02.00,0,1\n1,P01,P01_02,00:00:01.00,00:00:02.00,1,0\n")
    return "epic55", [path]


def rulstm(folder, video):
    (folder / "actions.csv").write_text("0, 0_0, take cup\n1, 1_1, put pan\n")
    (folder / "training1.csv").write_text(f"0, {video}, 10, 20, 0, 0, 0\n1, b, 10, 20, 1, 1, 1\n")
    return "egtea", [folder / "training1.csv"]


def egtea(folder, video):
    for space in ("action", "verb", "noun"):
        (folder / f"{space}_idx.txt").write_text("x 1\ny 2\n")
    (folder / "train_split1.txt").write_text(f"{video}-1-2-F1-F2 1 1 1\nOP01-R01-a-3-4-F3-F4 2 2 2\n")
    return "egtea", [folder / "train_split1.txt"]


def ucf101(folder, video):
    (folder / "classInd.txt").write_text("1 Run\n2 Jump\n")
    (folder / "trainlist01.txt").write_text(f"Run/v_Run_g01_c01.avi 1\n{video}/v_Jump_g01_c01.avi 2\n")
    return "ucf101", [folder / "trainlist01.txt"]


def hmdb51(folder, video):
    (folder / "run_test_split1.txt").write_text(f"{video} 1\nb.avi 2\n")
    (folder / "walk_test_split1.txt").write_text("c.avi 1\nd.avi 2\n")
    return "hmdb51", [folder]


def kinetics(folder, video):
    path = folder / "train.csv"
    path.write_text(f"label,youtube_id,time_start,time_end,split\nrun,{video},0,10,train\nwalk,abc,0,10,train\n")
    return "kinetics", [path]


def table(folder, video):
    path = folder / "table.csv"
    path.write_text(f"file,label\n{video},x\nb,y\n")
    return "table", [path]


def own(folder, video):
    (folder / "own.py").write_text(
        "from egokeras.data.segments import Segment\n"
        f"def read(paths): return [Segment(uid=v, video=v, labels={{'action': v}}) for v in ({video!r}, 'b')]\n"
    )
    return f"{folder / 'own.py'}:read", [folder]


@pytest.mark.parametrize("video", OUTSIDE)
@pytest.mark.parametrize("write", [epic100, epic55, rulstm, egtea, ucf101, hmdb51, kinetics, table, own], ids=lambda write: write.__name__)
def test_annotations_name_no_video_outside(tmp_path, write, video):
    good = "Jump" if write is ucf101 else "OP01-R01-z" if write is egtea else "abcd"
    assert len(readers.read(*write(tmp_path, good)).segments) >= 2  # so it is the path alone that is refused
    with pytest.raises(InputError, match=r"secret"):
        readers.read(*write(tmp_path, video))


def test_links_that_lead_outside_are_refused(tmp_path):
    inside = tmp_path / "videos"
    for name in ("a", "b"):
        (inside / name).mkdir(parents=True)
        (inside / name / "v.mp4").write_bytes(b"x")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (inside / "a" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(InputError, match="outside"):
        action_folders.read_folders([inside])
    for name in ("link", "a/link.mp4", "LINK.avi"):
        with pytest.raises(InputError, match="outside"):
            video_files.find([name], inside)
    found = readers.segments.Annotations(
        segments=(
            Segment(uid="a", video="a/link", labels={"action": "x"}, splits=("train",)),
            Segment(uid="b", video="b/v", labels={"action": "y"}, splits=("validation",)),
        ),
        classes={"action": ("x", "y")},
    )
    with pytest.raises(InputError, match="outside"):
        prepare.prepare(found, inside, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"file,label,uid\na,x,{'u' * 100_000}\nb,y,v\n")
    with pytest.raises(InputError, match=r"uid 'uuu.* has 100000 characters") as error:
        readers.read("table", [path])
    assert len(str(error.value)) < 200


# --- the page


class Page(html.parser.HTMLParser):
    BRINGS_MORE = {"script", "link", "iframe", "object", "embed", "base", "form", "input", "video", "audio", "source", "foreignobject"}

    def __init__(self, content):
        super().__init__()
        self.text, self.strange = "", []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            outside = name in ("src", "href", "xlink:href") and not (value or "").startswith(("#", "data:image/jpeg", "data:image/png"))
            if outside or name.startswith("on") or (name == "style" and "url" in value and "url(#" not in value):
                self.strange.append((tag, name, value))
        if tag in self.BRINGS_MORE:
            self.strange.append(tag)

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text += data


def test_every_name_on_the_page_is_text(tmp_path):
    run, rng, count = tmp_path / "<img src=x onerror=alert(1)> & $(touch x)", np.random.default_rng(0), len(NAMES)
    (run / "exports" / "a").mkdir(parents=True)
    write_json(run / "recipe.json", {"data": {"shards": NAMES[0]}, **{name: name for name in NAMES}})
    write_json(run / "classes.json", {"action": NAMES})
    labels = np.arange(4 * count) % count
    predictions = {"uid": np.array(NAMES * 4), "video": np.array(NAMES * 4), "logits_action": 9 * rng.normal(size=(4 * count, count))}
    np.savez(run / "predictions.npz", **predictions, label_action=labels, training_action=np.bincount(labels))
    result = {"clips": 9, "low": 1.0, "high": 9.0, "top1": 1.0, "top3": 2.0, "top5": 3.0, "chance": {"top1": 1.0, "top3": 2.0, "top5": 3.0}}
    folds = {name: {"top1": 1.0, "low": 0.0, "high": 9.0, "per_fold": [1.0]} for name in NAMES}
    subsets = {"tail": dict.fromkeys(NAMES, result)}
    write_json(
        run / "metrics.json", {"clips": 9, "unseen_clips": 0, "heads": dict.fromkeys(NAMES, result), "subsets": subsets, "folds": folds}
    )
    (run / "history.csv").write_text(
        'epoch,loss,"' + '","'.join(name.replace('"', '""') for name in NAMES) + '"\n' + ("1," * (count + 1) + "1\n") * 2
    )
    gate = {"answer": NAMES[1], "heads": {name: {} for name in NAMES}}
    described = {"name": NAMES[1], "parts": [{"file": NAMES[0]}], "files": {NAMES[0]: {"bytes": 9}}, "gate": gate}
    write_json(run / "exports" / "a" / "artifact.json", described)
    found = Page(report.write(run).read_text())
    assert found.strange == []
    for name in NAMES:
        assert found.text.count(name) >= 8
    assert "egokeras benchmark '" in found.text  # a command that is copied into a shell does what it says
    timing = {"artifact": NAMES[1], "threads": NAMES[0], "p50_ms": 1.0}
    write_json(run / "latency.json", {"host": {"processor": NAMES[0], "cores": NAMES[1]}, "results": [timing]})
    found = Page(report.write(run).read_text())
    assert found.strange == [] and found.text.count(NAMES[0]) >= 8


def test_every_description_of_a_picture_is_text():
    for name in NAMES:
        assert Page(page.join(page.picture(b"", 1, 1, name), page.element("p", name, id=name))).strange == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", '{"heads": {"a": 1}}'),
        ("metrics.json", "[1]"),
        ("classes.json", '{"action": 7}'),
        ("latency.json", '{"results": {"p50_ms": "x"}}'),
        ("history.csv", "epoch,loss\n1\n"),
        ("exports/a/artifact.json", "{}"),
        ("recipe.json", "[]"),
    ],
)
def test_a_page_of_broken_files_is_a_sentence(tmp_path, name, content):
    write_json(tmp_path / "recipe.json", {"data": {}})
    write_json(tmp_path / "classes.json", {"action": ["x", "y"]})
    np.savez(
        tmp_path / "predictions.npz",
        uid=np.array(["a"]),
        video=np.array(["a"]),
        logits_action=np.zeros((1, 2)),
        label_action=np.zeros(1, int),
    )
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    report.write(tmp_path)
    (tmp_path / "report.html").unlink()
    (tmp_path / name).write_text(content)
    try:
        assert report.write(tmp_path).is_file()
    except InputError as error:
        assert str(tmp_path) in str(error)
