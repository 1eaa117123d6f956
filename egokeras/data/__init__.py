"""From annotation files and videos to batches."""


def load(shards, split, **settings):
    """A split of a folder of shards as a `tf.data.Dataset`; see `egokeras.data.input_pipeline.load`."""
    from egokeras.data.input_pipeline import load

    return load(shards, split, **settings)
