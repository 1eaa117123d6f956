"""Which of the data's named inputs a network gets."""

from egokeras.errors import InputError


def run(net, inputs, training):
    """Call `net` with those of the named `inputs` that it has, so that a modality can never take another's place.

    Raises:
        InputError: an input that the network needs is not in the data.
    """
    names = list(net.input) if isinstance(net.input, dict) else [net.input.name]
    for name in names:
        if name not in inputs:
            raise InputError(f"network {net.name!r} needs the input {name!r}; the data has {', '.join(sorted(inputs))}.")
    return net({name: inputs[name] for name in names} if isinstance(net.input, dict) else inputs[names[0]], training=training)
