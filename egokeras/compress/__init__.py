"""From a trained Keras model to a small TFLite file; whatever may crash or clash with Keras 3 runs in a child process."""
