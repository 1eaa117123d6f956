"""SKD-SRL: two views of one clip share a soft label, and predict each other's representation.

Vu et al., "A Novel Self-Knowledge Distillation Approach with Siamese Representation Learning for Action Recognition" (VCIP 2021),
https://arxiv.org/abs/2209.01311; the similarity is that of Chen and He, "Exploring Simple Siamese Representation Learning" (CVPR 2021),
https://arxiv.org/abs/2011.10566.
"""

import dataclasses
import typing

import keras
import tensorflow as tf

from egokeras.distill.inputs import run, view
from egokeras.distill.soft_targets import check_weights
from egokeras.errors import InputError
from egokeras.losses import cross_entropy, kl_divergence, mean_over_clips, mean_over_known


@dataclasses.dataclass(frozen=True, kw_only=True)
class SKDSRL:
    """L = CE(y, p1) + CE(y, p2) + alpha L_KL + beta L_sim, the mean over clips and the sum over heads (equations 1 to 5).

    r_j = f(x_j) are the student's `features`, p_j its logits, p = p1 + p2, z_j = g(r_j) and v_j = q(z_j):

        L_KL  = KL(softmax(p / tau) || softmax(p1 / tau)) + KL(softmax(p / tau) || softmax(p2 / tau))
        L_sim = D(v1, sg z2) / 2 + D(v2, sg z1) / 2,  D(v, z) = - v / |v| . z / |z|

    The student alone is kept; g and q end with the training.

    Attributes:
        alpha: weight of L_KL.
        beta: weight of L_sim.
        temperature: tau.
        stop_gradient: take the shared soft label as a constant; the paper does not say.
        one_call: give the student both views as one batch, whose statistics its BatchNorm then shares; otherwise it is called per view.
        projection: width of z and v.
        hidden: width of the predictor's hidden layer.
    """

    alpha: float = 0.1
    beta: float = 1.0
    temperature: float = 10.0
    stop_gradient: bool = True
    one_call: bool = False
    projection: int = 2048
    hidden: int = 512
    views: typing.ClassVar[int] = 2

    def __post_init__(self):
        check_weights(self, "alpha", "beta")

    def networks(self, student):
        """Projector g, one linear layer, and predictor q, linear - BatchNorm - ReLU - linear.

        Raises:
            InputError: the student has no features, a vector for each clip.
        """
        features = student.output.get("features")
        if features is None or len(features.shape) != 2:
            raise InputError("method: SKDSRL compares the student's output 'features' (batch, channels), which this model does not have.")
        layers = keras.layers
        projector = [layers.Dense(self.projection, name="linear")]
        predictor = [
            layers.Dense(self.hidden, use_bias=False, name="linear1"),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn"),
            layers.ReLU(name="relu"),
            layers.Dense(self.projection, name="linear2"),
        ]
        return {
            "projector": keras.Sequential([keras.Input(features.shape[1:]), *projector], name="projector"),
            "predictor": keras.Sequential([keras.Input((self.projection,)), *predictor], name="predictor"),
        }

    def terms(self, student, nets, inputs, targets, training):
        first, second = self._outputs(student, inputs, training)
        terms = {}
        for space, y in targets.items():
            p1, p2 = first[space], second[space]
            terms[f"ce_{space}"] = mean_over_known(cross_entropy(y, p1) + cross_entropy(y, p2), y)
        for space in targets:
            p1, p2 = first[space], second[space]
            terms[f"kl_{space}"] = self.alpha * mean_over_clips(shared_label(p1, p2, self.temperature, self.stop_gradient))
        g, q = nets["projector"], nets["predictor"]
        z1, z2 = (g(outputs["features"], training=training) for outputs in (first, second))
        v1, v2 = q(z1, training=training), q(z2, training=training)
        terms["similarity"] = self.beta * mean_over_clips(similarity(v1, z2) / 2 + similarity(v2, z1) / 2)
        return first, terms

    def _outputs(self, student, inputs, training):
        """The student's outputs of both views."""
        if not self.one_call:
            return [run(student, view(student, inputs, number), training) for number in range(self.views)]
        views = [view(student, inputs, number) for number in range(self.views)]
        both = run(student, {name: tf.concat([each[name] for each in views], 0) for name in student.input}, training)
        halves = {name: tf.split(values, self.views) for name, values in both.items()}
        return [{name: parts[number] for name, parts in halves.items()} for number in range(self.views)]


def shared_label(p1, p2, temperature, stop_gradient=True):
    """L_KL of every clip (equation 2): how far the logits of each view are from those of both.

    Args:
        p1, p2: `(batch, classes)`.
        temperature: tau.
        stop_gradient: see `SKDSRL`.

    Returns:
        `(batch,)` float32, at least 0.
    """
    p = p1 + p2
    p = tf.stop_gradient(p) if stop_gradient else p
    return kl_divergence(p, p1, temperature) + kl_divergence(p, p2, temperature)


def similarity(v, z):
    """D(v, sg z) of every clip (equation 3): `(batch,)` from -1, the same direction, to 1."""
    v, z = (tf.math.l2_normalize(tf.cast(vector, "float32"), axis=-1) for vector in (v, tf.stop_gradient(z)))
    return -tf.reduce_sum(v * z, axis=-1)
