"""One training step for every method: the method gives the terms of its loss, the Distiller does the rest.

A method is a frozen dataclass with two functions:

- `networks(student)`: the extra networks it needs, by name (`{}` for none);
- `terms(student, nets, inputs, targets, training)`: the student's outputs, and the terms of its loss by name, in the order of
  the paper; their sum is minimised. On several devices every one calls it on its share of the clips, and the terms of all are
  added up: means over the batch are taken by `losses.mean_over_known`, which knows the whole batch.

It may also define `on_epoch_end(student, nets, epoch, logs)`; `bind(training)`, which returns the method with what it must know of a
`TrainingSet` (class weights, priors, where a teacher lies); `views`, how many views of every clip it compares: its inputs then come as
`(batch, views, time, height, width, 3)`; and `made_of`, what else a snapshot of the training must agree with.
"""

import contextlib

import keras
import tensorflow as tf

from egokeras.distill.inputs import exits_of, run
from egokeras.distill.supervised import Supervised
from egokeras.errors import InputError
from egokeras.losses import sum_over_replicas
from egokeras.metrics import TopK


class Distiller(keras.Model):
    """Trains `student` by `method`; an ordinary Keras model to `compile` and `fit` on `(inputs, targets)` of named tensors.

    Targets are integer labels `(batch,)`, named like the student's outputs; -1 is a clip without that label.

    Made in the scope of a `tf.distribute.MirroredStrategy`, it gives the losses, weights and logs of one device to rounding: `fit`
    normalises every batch by the statistics of all its clips, and a gradient is summed before it is clipped. Only Dropout differs:
    every device draws for its own clips. A batch of training must have a clip for every device.

    Args:
        student: a `keras.Model` with named inputs and a dict of outputs.
        method: see the module; by default cross-entropy on the labels.
        masked: weights of the student that are held at zero where `masks`, bool variables of their shapes and in their order, are False;
            all are True until somebody changes them (`egokeras.compress.prune.Pruner`).
    """

    def __init__(self, student, method=None, masked=(), **kwargs):
        super().__init__(dtype=student.dtype_policy, **kwargs)  # Keras scales the loss where the policy is mixed_float16
        self.student = student
        self.method = method or Supervised()
        self.nets = self.method.networks(student)
        self._trackers = {}  # Keras lists them last of its metrics, so its idle tracker of a loss that it does not compute gives way
        self.epoch = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="epoch")
        masked = tuple(masked)
        self.masks = [self.add_weight(shape=one.shape, dtype="bool", initializer="ones", trainable=False, name="mask") for one in masked]
        self._mask_of = {id(weight): mask for weight, mask in zip(masked, self.masks, strict=True)}
        self.built = True

    def call(self, inputs, training=False):
        return run(self.student, inputs, training)

    def compile(self, optimizer="adam", *, top=(1, 5), l2=0.0, **kwargs):
        """As `keras.Model.compile`, with the method in the place of a loss.

        Args:
            optimizer: a Keras optimizer or its name.
            top: the k of the top-k accuracies that are kept for every output that has a target.
            l2: weight of half the sum of the squares of all trainable weights in the loss.
            **kwargs: `metrics`, `jit_compile` and so on, for Keras.

        Raises:
            InputError: `metrics` on several devices.
        """
        if kwargs.get("metrics") and self.distribute_strategy.num_replicas_in_sync > 1:
            raise InputError("metrics: Keras builds its own only on one device; leave them out and evaluate the trained student.")
        self.top, self.l2 = tuple(top), l2
        with self.distribute_strategy.scope():
            # Keras' jit_compile="auto" leaves XLA out on a CPU, rightly: there it made a step on frames 4 to 18 times slower, and one
            # of a head on features 1.2 times faster, which 7 s more of compiling eat up for some 6,000 steps
            super().compile(optimizer=optimizer, **kwargs)
            self.optimizer.build(self.trainable_variables)

    def fit(self, *args, **kwargs):
        """As `keras.Model.fit`."""
        with _batch_statistics_of_all_devices(self):
            return super().fit(*args, **kwargs)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing is left to build. On several devices Keras would read a batch more for it, and fail where that does not split evenly."""

    @property
    def inputs(self):
        """Names of the inputs that the student and the other networks read."""
        nets = [self.student, *(net for net in self.nets.values() if isinstance(getattr(net, "input", None), dict))]
        return list(dict.fromkeys(name for net in nets for name in net.input))

    @property
    def tracked(self):
        """Names of the running means so far, for `build_trackers`."""
        return tuple(self._trackers)

    def build_trackers(self, names):
        """Make the running means of these names (`loss`, `ce_verb`, `verb_top5` ...) now; else the first step makes its own."""
        ks = {f"{space}_top{k}": k for space in self.student.output for k in self.top}
        inside_step = tf.distribute.get_replica_context() is not None
        scope = contextlib.nullcontext() if inside_step else self.distribute_strategy.scope()
        with tf.init_scope(), scope, tf.variable_creator_scope(_of_no_function):
            for name in (name for name in names if name not in self._trackers):
                self._trackers[name] = TopK(ks[name], name=name) if name in ks else keras.metrics.Mean(name)

    def state_variables(self):
        """Everything that a training changes, by a name of its own and in an order that is the same for every process.

        Student, other networks (with the seeds of Dropout), optimizer, masks, running means made so far, and the epoch. Numbered, as Keras'
        own names count the layers that the process has made before.
        """
        parts = {"distiller": [self.epoch], "student": self.student.variables}
        parts |= {f"nets/{name}": net.variables for name, net in self.nets.items()} | {"optimizer": self.optimizer.variables}
        parts |= {"masks": self.masks} if self.masks else {}
        parts |= {f"trackers/{name}": tracker.variables for name, tracker in self._trackers.items()}
        return {f"{part}/{i}": variable for part, variables in parts.items() for i, variable in enumerate(variables)}

    def train_step(self, data):
        """One step of the optimizer on the sum of the method's terms, `l2` and the student's own penalties."""
        inputs, targets = data
        with tf.GradientTape() as tape, self._own_noise():
            outputs, terms = self.method.terms(self.student, self.nets, inputs, targets, training=True)
            penalties = [penalty / self.distribute_strategy.num_replicas_in_sync for penalty in self.student.losses]
            scaled = self.optimizer.scale_loss(_sum([*terms.values(), *penalties]))
        weights = self.trainable_variables
        gradients = tape.gradient(scaled, weights)
        if self.l2:
            l2 = self.l2 / self.distribute_strategy.num_replicas_in_sync
            gradients = _with_l2(gradients, weights, self.optimizer.scale_loss(l2))
            penalties.append(l2 * _sum([tf.nn.l2_loss(weight) for weight in weights]))
        self.optimizer.apply(
            _reduced([self._masked(gradient, weight) for gradient, weight in zip(gradients, weights, strict=True)]), weights
        )
        self.apply_masks()  # momentum from before a weight was masked would still move it
        loss = _sum([*terms.values(), *penalties])
        return self._logs(inputs, targets, outputs, {"loss": loss, **terms}, _count(targets))

    @property
    def masked(self):
        """The weights that `masks` are of, in their order."""
        own = {id(weight): weight for weight in self.student.weights}
        return [own[key] for key in self._mask_of]

    def apply_masks(self):
        """Set the student's weights to zero where their masks are False."""
        for weight in self.masked:
            weight.assign(self._masked(weight.value, weight))

    def _masked(self, values, weight):
        """`values` of a weight, or of its gradient, with zeros where its mask is False; also what is not finite becomes zero there."""
        mask = self._mask_of.get(id(weight))
        return values if values is None or mask is None else tf.where(mask.value, values, tf.zeros_like(values))

    def test_step(self, data):
        """The supervised loss and the metrics, whatever the method, so that `val_loss` means the same for all."""
        clips = _count(data[1])
        inputs, targets = data if self.distribute_strategy.num_replicas_in_sync == 1 else _filled(*data)
        outputs, terms = Supervised().terms(self.student, {}, inputs, targets, training=False)
        return self._logs(inputs, targets, outputs, {"loss": _sum([*terms.values()])}, clips)

    def _logs(self, inputs, targets, outputs, losses, clips):
        scored = {**{space: space for space in targets}, **exits_of(outputs, targets)}
        scores = {f"{name}_top{k}": (name, space) for name, space in scored.items() for k in self.top if k < outputs[name].shape[-1]}
        self.build_trackers([*losses, *scores])
        for name, value in sum_over_replicas(losses).items():
            self._trackers[name].update_state(value, sample_weight=clips)
        for score, (name, space) in scores.items():
            self._trackers[score].update_state(targets[space], outputs[name])
        results = self.compute_metrics(inputs, targets, {space: outputs[space] for space in targets})
        if self.distribute_strategy.num_replicas_in_sync > 1:  # a device has added up its own clips alone
            sums = {name: (tracker.total.value, tracker.count.value) for name, tracker in self._trackers.items()}
            results |= {name: tf.math.divide_no_nan(*pair) for name, pair in sum_over_replicas(sums).items()}
        idle = self._trackers.keys() - losses.keys() - scores.keys()  # terms of training, while validating
        return {name: value for name, value in results.items() if name not in idle}

    @contextlib.contextmanager
    def _own_noise(self):
        """Seeds of this device's own, as equal ones would drop the same units of different clips; afterwards all are equal again."""
        if self.distribute_strategy.num_replicas_in_sync == 1:
            yield
            return
        seeds = [variable for variable in self.variables if variable.name == "seed_generator_state"]
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        shift = tf.stack([number, 0])
        for seed in seeds:
            seed.assign_add(tf.cast(shift, seed.dtype))
        yield
        for seed in seeds:
            seed.assign_sub(tf.cast(shift, seed.dtype))


def _of_no_function(create, **kwargs):
    """Create a variable of the model: a `tf.function` that creates one of its own is traced a second time."""
    return create(**{**kwargs, "experimental_enable_variable_lifting": False})


def _sum(terms):
    """The sum of scalars, always in their order: TensorFlow's AddN begins with whichever of its inputs nobody else still needs."""
    return tf.reduce_sum(tf.stack(terms))


def _with_l2(gradients, weights, l2):
    """Gradients of the loss with l2 / 2 |w|^2 in it: g + l2 w, written so that TensorFlow does not merge it into an AddN, see `_sum`."""
    return [l2 * weight if gradient is None else gradient - (-l2) * weight for gradient, weight in zip(gradients, weights, strict=True)]


def _count(targets):
    return tf.shape(next(iter(targets.values())))[0]


def _filled(inputs, targets):
    """Where the last batch leaves nothing for a device, one clip of zeros without labels: convolutions fail on no clip (oneDNN's do)."""
    missing = tf.cast(_count(targets) == 0, tf.int32)

    def fill(tensor, value):
        return tf.concat([tensor, tf.fill([missing, *tensor.shape[1:]], tf.cast(value, tensor.dtype))], 0)

    return {name: fill(tensor, 0) for name, tensor in inputs.items()}, {space: fill(labels, -1) for space, labels in targets.items()}


def _reduced(gradients):
    """The sum of all devices' gradients on the first and zeros on the others: the optimizer clips before it sums, and must clip the sum."""
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return gradients
    sums = iter(sum_over_replicas([tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]))
    first = tf.cast(tf.equal(replica.replica_id_in_sync_group, 0), "float32")  # a factor, so that what is not finite is so on all
    return [None if gradient is None else next(sums) * first for gradient in gradients]


@contextlib.contextmanager
def _batch_statistics_of_all_devices(model):
    """Let every BatchNormalization see the whole batch while there are several devices; a saved model says nothing of it."""
    several = model.distribute_strategy.num_replicas_in_sync > 1
    layers = [layer for layer in leaves(model) if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized]
    for layer in layers if several else ():
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False


def leaves(layer):
    """The layers of a model, those of models nested in it in their place."""
    inner = getattr(layer, "layers", None)
    return [layer] if inner is None else [leaf for part in inner for leaf in leaves(part)]
