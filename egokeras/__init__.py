"""egokeras: train small first-person video models and put them on the device.

Importing this package loads nothing heavy, because `--help` and the device side go through it.
"""

__version__ = "0.1.0"


def load_model(path):
    """Load a trained student (`model.keras`) as a `keras.Model`, with our layers registered and `safe_mode=True`.

    Raises:
        InputError: there is no such file, it is damaged, or it holds what `safe_mode` forbids, such as code.
    """
    import zipfile

    import keras

    import egokeras.layers  # noqa: F401  registers the layers a student may contain
    from egokeras.errors import InputError

    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} does not exist or is damaged; give the model.keras of a finished run.")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a strange file makes Keras raise
        found = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be loaded ({found}); give the model.keras of a run of your own.") from error
