"""Label smoothing: priors of a training set, the loss against loops, and its place in recipes, snapshots and memory."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras import recipe as recipes
from egokeras import train
from egokeras.distill import Distiller, GloVe, LabelSmoothing, Mixture, Supervised, Temporal, Uniform, VerbNoun, prior_matrices
from egokeras.distill.label_priors import cross_entropies, missing_words, parts_of
from egokeras.distill.training_set import TrainingSet
from egokeras.errors import InputError
from egokeras.recipe import Data, Recipe

PAIRS = np.array([(0, 0), (0, 1), (1, 0), (1, 2), (2, 2)])
CLASSES = {"verb": ("take", "wash", "turn-on"), "noun": ("pan", "cup", "machine:washing")}
CLASSES["action"] = tuple(f"{CLASSES['verb'][verb]} {CLASSES['noun'][noun]}" for verb, noun in PAIRS)
SEQUENCES = [np.array([0, 1, 2, 0, 1]), np.array([1, 3, 4, 1])]
UNION = [
    [1 / 3, 1 / 3, 1 / 3, 0, 0],
    [1 / 2, 1 / 2, 0, 0, 0],
    [1 / 3, 0, 1 / 3, 1 / 3, 0],
    [0, 0, 1 / 3, 1 / 3, 1 / 3],
    [0, 0, 0, 1 / 2, 1 / 2],
]
VECTORS = {"take": [1, 0], "wash": [0, 2], "turn": [1, 1], "on": [1, 3], "pan": [3, 0], "cup": [2, 1], "washing": [0, 4]}


def training_set(*heads, **changes):
    labels = np.concatenate(SEQUENCES)
    parts = {"action": lambda ids: ids, "verb": lambda ids: PAIRS[ids, 0], "noun": lambda ids: PAIRS[ids, 1]}
    history = {space: [parts[space](ids) for ids in SEQUENCES] for space in heads}
    made = TrainingSet(labels={space: parts[space](labels) for space in heads}, classes=CLASSES, actions=PAIRS, history=history)
    return dataclasses.replace(made, **changes)


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.2d.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in VECTORS.items()))
    return GloVe(vectors=str(path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear:
    """The smallest model of a recipe."""

    def build(self, *, classes, shapes):
        inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
        x = keras.layers.Flatten()(inputs["rgb_features"])
        return keras.Model(inputs, {space: keras.layers.Dense(count, name=space)(x) for space, count in classes.items()})


def student(times=None):
    keras.utils.set_random_seed(0)
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(8, activation="relu", name="dense")(features)
    if times:
        x = keras.layers.RepeatVector(times)(x) * keras.ops.arange(1, times + 1, dtype="float32")[:, None]
    return keras.Model({"features": features}, {"action": keras.layers.Dense(5, name="action")(x)})


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return {"features": random.normal(size=(8, 6)).astype("float32")}, {"action": np.array([0, 1, 2, -1, 4, -1, 3, 3], "int32")}


def test_priors_of_actions(glove):
    training = training_set("action")
    np.testing.assert_allclose(Uniform().matrix(training, "action"), np.full((5, 5), 0.2))
    np.testing.assert_allclose(VerbNoun().matrix(training, "action"), UNION, rtol=1e-6)
    np.testing.assert_allclose(VerbNoun(mode="sum").matrix(training, "action")[0], [0.5, 0.25, 0.25, 0, 0])
    np.testing.assert_allclose(Temporal().matrix(training, "action")[1], [2 / 3, 0, 0, 0, 1 / 3], rtol=1e-6)
    turn_on, machine = [1, 2], VECTORS["washing"]
    phi = [[1, 0, 3, 0], [1, 0, 2, 1], [0, 2, 3, 0], [0, 2, *machine], [*turn_on, *machine]]
    expected = np.abs(np.array(phi) @ np.array(phi).T)
    np.testing.assert_allclose(glove.matrix(training, "action"), expected / expected.sum(1, keepdims=True), rtol=1e-5)
    mixed = Mixture(parts=(glove, VerbNoun()), weights=(1, 3)).matrix(training, "action")
    np.testing.assert_allclose(mixed, glove.matrix(training, "action") / 4 + 3 * np.array(UNION) / 4, rtol=1e-5)
    nested = Mixture(parts=(Mixture(parts=(glove, VerbNoun())), Temporal()), weights=(2, 0))
    np.testing.assert_allclose(nested.matrix(training, "action"), glove.matrix(training, "action") / 2 + np.array(UNION) / 2, rtol=1e-5)


def test_priors_of_verbs_and_nouns(glove):
    training = training_set("verb", "noun")
    np.testing.assert_allclose(
        VerbNoun().matrix(training, "verb"), [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]], rtol=1e-6
    )
    np.testing.assert_allclose(
        VerbNoun(mode="sum").matrix(training, "noun"), [[2 / 4, 1 / 4, 1 / 4], [1 / 2, 1 / 2, 0], [1 / 3, 0, 2 / 3]], rtol=1e-6
    )
    np.testing.assert_allclose(Temporal().matrix(training, "verb")[2], [0, 1, 0])  # of 1 3 4 1 only 3 -> 4 ends in turn-on
    expected = np.abs(np.array([[1, 0], [0, 2], [1, 2]]) @ np.array([[1, 0], [0, 2], [1, 2]]).T)
    np.testing.assert_allclose(glove.matrix(training, "verb"), expected / expected.sum(1, keepdims=True), rtol=1e-5)


def test_actions_by_their_names_where_the_data_does_not_tell_verb_and_noun(glove):
    training = training_set("action", actions=None)
    np.testing.assert_allclose(glove.embed(training, "action")[0], [2, 0])  # the mean of take and pan
    with pytest.raises(InputError, match="VerbNoun needs the verb and the noun of every action"):
        VerbNoun().matrix(training, "action")


def test_words_without_a_vector_are_named(glove, capsys):
    training = training_set("action", "noun")
    training = dataclasses.replace(training, classes={**CLASSES, "verb": ("take", "wash", "defoliate")})
    said = list(missing_words(Mixture(parts=(glove, VerbNoun())), training))
    assert said == [
        f"{glove.vectors} has no vector for 2 words of the action names (defoliate, machine); without any vector: defoliate",
        f"{glove.vectors} has no vector for 1 words of the noun names (machine)",
    ]
    LabelSmoothing(prior=glove).bind(training)
    assert capsys.readouterr().err.splitlines() == said
    alone = glove.matrix(dataclasses.replace(training, labels={"verb": training.labels["action"]}), "verb")
    assert alone[2].tolist() == [0, 0, 1]
    assert parts_of(Mixture(parts=(Mixture(), Temporal()), weights=(1, 1)), GloVe) == [GloVe()]


def test_another_file_of_vectors_is_another_training(glove, tmp_path):
    training = training_set("action")
    before = LabelSmoothing(prior=glove).bind(training).made_of
    assert before == LabelSmoothing(prior=glove).bind(training).made_of
    (tmp_path / "glove.2d.txt").write_text("take 3 4 5\n")
    assert LabelSmoothing(prior=glove).bind(training).made_of != before
    assert LabelSmoothing(prior=VerbNoun()).bind(training).made_of == LabelSmoothing(prior=Temporal()).bind(training).made_of


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LabelSmoothing(alpha=1.2), "method.alpha is 1.2; give a share from 0 to 1"),
        (lambda: LabelSmoothing(alpha=float("nan")), "method.alpha is nan"),
        (lambda: VerbNoun(mode="unoin"), "method.prior.mode 'unoin' is not known; give union or sum"),
        (lambda: Temporal(empty="zero"), "method.prior.empty 'zero'"),
        (lambda: Mixture(weights=(1.0,)), "method.prior.weights has 1 numbers for 2 parts"),
        (lambda: Mixture(weights=(1.0, -0.5)), "method.prior.weights is .* give numbers from 0"),
        (lambda: Mixture(weights=(0.0, 0.0)), "method.prior.weights is .* not all of them 0"),
        (lambda: Mixture(weights=(1.0, float("nan"))), "method.prior.weights is"),
        (lambda: GloVe().matrix(training_set("action"), "action"), "GloVe has no vectors; give the path"),
        (lambda: GloVe(vectors="nowhere.txt").matrix(training_set("action"), "action"), "method.prior.vectors: nowhere.txt cannot be read"),
        (lambda: VerbNoun().matrix(training_set("verb"), "verb_category"), "not for verb_category"),
        (lambda: VerbNoun().matrix(training_set("action", actions=PAIRS[:4]), "action"), "'actions' in the index.json .* does not fit"),
        (lambda: VerbNoun().matrix(training_set("action", actions=PAIRS + 1), "action"), "does not fit"),
        (lambda: Temporal().matrix(training_set("verb", history={"verb": [np.array([1])]}), "verb"), "several verb labels in a row"),
        (lambda: Distiller(student(), LabelSmoothing()), "must see the training labels first"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(make, words):
    with pytest.raises(InputError, match=words):
        make()


def loop(labels, logits, pi):
    """CE(y, p) and CE(pi_y, p), the means over the labelled clips and the times."""
    hard, soft = [], []
    for label, times in zip(labels, np.float64(logits), strict=True):
        for row in np.atleast_2d(times) if label >= 0 else ():
            log_p = row - max(row) - np.log(np.exp(row - max(row)).sum())
            hard.append(-log_p[label])
            soft.append(-sum(pi[label][i] * log_p[i] for i in range(len(row))))
    return np.mean(hard), np.mean(soft)


@pytest.mark.parametrize("times", [None, 3])
def test_terms_equal_a_loop(batch, times):
    net, (inputs, targets) = student(times), batch
    method = LabelSmoothing(prior=VerbNoun(), alpha=0.3).bind(training_set("action"))
    outputs, terms = method.terms(net, method.networks(net), inputs, targets, training=True)
    hard, soft = loop(targets["action"], outputs["action"], UNION)
    assert list(terms) == ["ce_action", "prior_action"]
    np.testing.assert_allclose(terms["ce_action"], 0.7 * hard, rtol=1e-5)
    np.testing.assert_allclose(terms["prior_action"], 0.3 * soft, rtol=1e-5)
    y_soft = 0.7 * np.eye(5) + 0.3 * np.array(UNION)
    np.testing.assert_allclose(sum(terms.values()), loop(targets["action"], outputs["action"], y_soft)[1], rtol=1e-5)


def test_one_way_to_uniform_smoothing_is_keras_own(batch):
    net, (inputs, _) = student(), batch
    labels = np.arange(8) % 5
    method = LabelSmoothing(alpha=0.4).bind(training_set("action"))
    outputs, terms = method.terms(net, {}, inputs, {"action": labels}, training=True)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.4)(np.eye(5)[labels], outputs["action"])
    np.testing.assert_allclose(sum(terms.values()), theirs, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_of_alpha(batch, alpha):
    net, (inputs, targets) = student(), batch
    terms = LabelSmoothing(prior=Temporal(), alpha=alpha).bind(training_set("action")).terms(net, {}, inputs, targets, training=True)[1]
    plain = Supervised().terms(net, {}, inputs, targets, training=True)[1]["ce_action"]
    if alpha == 0:
        np.testing.assert_allclose(terms["ce_action"], plain, rtol=1e-5)
    assert float(terms["ce_action" if alpha else "prior_action"]) == 0


def test_each_term_alone_reaches_the_student_and_heads_have_their_own_priors():
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(8, name="dense")(features)
    net = keras.Model({"features": features}, {space: keras.layers.Dense(3, name=space)(x) for space in ("verb", "noun")})
    inputs, targets = {"features": np.ones((2, 6), "float32")}, {"verb": np.array([0, 2]), "noun": np.array([1, -1])}
    training = training_set("verb", "noun")
    method = LabelSmoothing(prior=VerbNoun()).bind(training)
    for name in ("ce_verb", "prior_verb", "ce_noun", "prior_noun"):
        with tf.GradientTape() as tape:
            outputs, terms = method.terms(net, {}, inputs, targets, training=True)
        assert list(terms) == ["ce_verb", "prior_verb", "ce_noun", "prior_noun"]
        assert np.abs(tape.gradient(terms[name], net.get_layer("dense").kernel)).max() > 0
    np.testing.assert_allclose(
        terms["prior_noun"], 0.3 * loop(targets["noun"], outputs["noun"], VerbNoun().matrix(training, "noun"))[1], rtol=1e-5
    )


def test_half_precision_logits_give_float32_losses():
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype("float16") * 8
    labels, pi = np.array([0, 4, -1, 2], "int32"), np.array(UNION, "float32")
    hard, soft = cross_entropies(labels, pi, tf.constant(logits))
    assert hard.dtype == soft.dtype == tf.float32 and hard[2] == soft[2] == 0
    np.testing.assert_allclose([np.sum(hard) / 3, np.sum(soft) / 3], loop(labels, logits, UNION), rtol=1e-5)


def test_training_learns_the_prior_and_leaves_no_trace_in_the_state(batch):
    inputs, targets = {"features": np.eye(6, dtype="float32")[:5]}, {"action": np.arange(5, dtype="int32")}
    data = tf.data.Dataset.from_tensors((inputs, targets)).repeat(300)
    plain, net = Distiller(student()), student()
    distiller = Distiller(net, LabelSmoothing(prior=VerbNoun(), alpha=0.5).bind(training_set("action")))
    for made in (plain, distiller):
        made.compile(keras.optimizers.Adam(2e-2))
    logs = distiller.fit(data, epochs=2, verbose=0).history
    np.testing.assert_allclose(np.add(logs["ce_action"], logs["prior_action"]), logs["loss"], rtol=1e-5)
    p = tf.nn.softmax(net(inputs)["action"])
    np.testing.assert_allclose(p, 0.5 * np.eye(5) + 0.5 * np.array(UNION), atol=0.03)  # the least cross-entropy is at y_soft itself
    validated = distiller.evaluate(tf.data.Dataset.from_tensors((inputs, targets)), return_dict=True, verbose=0)["loss"]
    np.testing.assert_allclose(validated, Supervised().terms(net, {}, inputs, targets, training=False)[1]["ce_action"], rtol=1e-5)
    plain.fit(data.take(1), verbose=0)
    variables = [name for name in distiller.state_variables() if not name.startswith("trackers")]
    assert variables == [name for name in plain.state_variables() if not name.startswith("trackers")]
    assert all(variable.shape != (5, 5) for variable in [*distiller.variables, *distiller.non_trainable_variables])


def test_a_large_prior_is_no_part_of_the_graph():
    count = 400
    training = TrainingSet(labels={"action": np.zeros(1, "int32")}, classes={"action": tuple(map(str, range(count)))})
    method = LabelSmoothing(prior=Uniform()).bind(training)
    features = keras.Input((4,), name="features")
    net = keras.Model({"features": features}, {"action": keras.layers.Dense(count, name="action")(features)})
    distiller = Distiller(net, method)
    distiller.compile("sgd")
    inputs = {"features": np.zeros((2, 4), "float32")}, {"action": np.zeros(2, "int32")}
    step = tf.function(distiller.train_step).get_concrete_function(tf.nest.map_structure(tf.constant, inputs))
    assert step.graph.as_graph_def().ByteSize() < 200_000 < 4 * count**2
    assert method.companions["action"].shape == (count, count)


def test_recipes_hold_the_spec_alone(tmp_path):
    base = (Recipe(name="a", data=Data(shards=str(tmp_path))),)
    for change in ("method=LabelSmoothing", "method.prior=GloVe", "method.prior.vectors=some/glove.txt", "method.alpha=0.6"):
        base = recipes.override(base, change)
    assert base[0].method == LabelSmoothing(prior=GloVe(vectors="some/glove.txt"), alpha=0.6)
    for change, prior in (
        ("method.prior=VerbNoun", VerbNoun()),
        ("method.prior.mode=sum", VerbNoun(mode="sum")),
        ("method.prior=Temporal", Temporal()),
        ("method.prior.empty=uniform", Temporal(empty="uniform")),
        ("method.prior=Mixture", Mixture()),
        ("method.prior.weights=0.2,0.8", Mixture(weights=(0.2, 0.8))),
        ("method.prior=Uniform", Uniform()),
    ):
        base = recipes.override(base, change)
        assert base[0].method.prior == prior, change
    for wrong, words in (
        ("method.alpha=2", "method.alpha is 2"),
        ("method.prior=Verbs", "'Verbs' does not fit"),
        ("method.prior.mode=x", "mode"),
    ):
        with pytest.raises(InputError, match=words):
            recipes.override(recipes.override(base, "method.prior=VerbNoun"), wrong)


def test_a_recipe_file_with_a_nested_mixture(tmp_path):
    (tmp_path / "mixed.py").write_text(
        "from egokeras.distill import GloVe, LabelSmoothing, Mixture, Temporal, VerbNoun\n"
        "from egokeras.recipe import Recipe\n\n\n"
        "def stages():\n"
        "    words = Mixture(parts=(GloVe(vectors='glove.txt'), VerbNoun()), weights=(1, 1))\n"
        "    return (Recipe(name='mixed', method=LabelSmoothing(prior=Mixture(parts=(words, Temporal()), weights=(0.9, 0.1)))),)\n"
    )
    (stage,) = recipes.load(tmp_path / "mixed.py")
    record = json.loads(json.dumps(recipes.as_json(stage)))
    assert [part["is"] for part in record["method"]["prior"]["parts"]] == ["Mixture", "Temporal"]
    assert record["method"]["prior"]["parts"][0]["parts"][0]["vectors"] == "glove.txt"
    assert recipes.differences(record, stage) == []
    other = recipes.override((stage,), "method.prior.weights=(0.5,0.5)")[0]
    assert recipes.differences(record, other) == ["method.prior.weights was [0.9, 0.1] and is [0.5, 0.5]"]


def test_priors_from_the_real_labels_of_epic_kitchens_100(shared_data):
    """Recognition with verb and noun heads: the pairs are those of the training clips."""
    classes = {}
    for space in ("verb", "noun"):
        with open(shared_data / "ek100" / f"EPIC_100_{space}_classes.csv", newline="", encoding="utf-8") as file:
            classes[space] = tuple(row["key"] for row in csv.DictReader(file))
    with open(shared_data / "rulstm" / "ek100" / "training.csv", newline="") as file:
        labels = dict(zip(("verb", "noun"), np.array([row[4:6] for row in csv.reader(file)], int).T, strict=True))
    pairs = np.unique(np.stack(list(labels.values()), 1), axis=0)
    vectors = str(shared_data / "glove" / "glove.twitter.25d.12k.txt")
    training = TrainingSet(labels=labels, classes=classes, actions=pairs, history={space: [ids] for space, ids in labels.items()})
    for prior in (Uniform(), VerbNoun(), Temporal(), Mixture(parts=(GloVe(vectors=vectors), VerbNoun()))):
        for space, count in (("verb", 97), ("noun", 300)):
            matrix = prior.matrix(training, space)
            assert matrix.shape == (count, count) and (matrix >= 0).all()
            np.testing.assert_allclose(matrix.sum(1, dtype=np.float64), 1, atol=1e-6)
    support = prior_matrices.support(VerbNoun().matrix(training, "noun"))
    assert support[classes["noun"].index("fridge")] > 100  # nearly everything is opened, taken or put
    lost, words = GloVe(vectors=vectors).missing(training, "verb")
    assert "unroll" in lost and len(lost) + 81 <= 97 and set(lost) <= set(classes["verb"]) and words


def test_a_run_goes_on_with_the_prior_that_it_began_with(observations, glove, tmp_path):
    segments = observations.segments()
    windows = np.random.default_rng(0).normal(size=(len(segments), 14, 3)).astype("float16")
    shards = observations.write(tmp_path / "shards", windows, segments)
    recipe = Recipe(
        name="smoothed",
        data=Data(shards=str(shards.path), heads=("action",)),
        model=Linear(),
        method=LabelSmoothing(prior=Mixture(parts=(Temporal(), glove)), alpha=0.5),
        epochs=2,
        batch_size=32,
    )
    weights = {}
    for name, epochs in (("whole", [2]), ("parts", [1, 2])):
        (tmp_path / name).mkdir()
        for count in epochs:
            model = train.fit(dataclasses.replace(recipe, epochs=count), tmp_path / name, quiet=True, resume=count > epochs[0])
        weights[name] = model.get_weights()
    for one, other in zip(weights["whole"], weights["parts"], strict=True):
        np.testing.assert_array_equal(one, other)
    record = json.loads((tmp_path / "whole" / "recipe.json").read_text())
    assert record["method"] == recipes.as_json(recipe.method) and record["method"]["prior"]["parts"][0] == {
        "is": "Temporal",
        "empty": "one-hot",
    }
    assert {"ce_action", "prior_action", "val_loss"} <= set((tmp_path / "whole" / "history.csv").read_text().splitlines()[0].split(","))
    for snapshot in (tmp_path / "whole" / "snapshots").glob("*.npz"):
        with np.load(snapshot) as found:
            assert all(found[name].shape != (5, 5) for name in found.files)
    (tmp_path / "glove.2d.txt").write_text("take 3 4\nwash 1 2\n")
    with pytest.raises(InputError, match="is of a training with other word vectors"):
        train.fit(dataclasses.replace(recipe, epochs=3), tmp_path / "whole", quiet=True, resume=True)


def test_properties(methods, tmp_path):
    _, targets = methods.batch()
    classes = {"verb": tuple("abcd"), "noun": tuple("abc")}
    method = LabelSmoothing(prior=Uniform(), alpha=0.4).bind(TrainingSet(labels=targets, classes=classes))
    methods.check(method, tmp_path, ["ce_verb", "prior_verb", "ce_noun", "prior_noun"])
