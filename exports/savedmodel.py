"""The network as it was trained, as a SavedModel for programs that serve with TensorFlow or read its graphs; equal to Keras to 1e-4."""

from egokeras.export import Export

EXPORT = Export(name="savedmodel", format="savedmodel")
