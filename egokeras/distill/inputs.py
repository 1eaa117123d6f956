"""Which of the data's named inputs a network gets, and of which view; which of its outputs are early exits."""

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


def view(net, inputs, number):
    """The named inputs of one view of the clips: where an input comes as (batch, views, ...), those of that number.

    Args:
        net: the network that they are for; its inputs have no axis of views.
        inputs: by name.
        number: of the view, from 0.

    Raises:
        InputError: no input has views.
    """
    several = {name for name, given in net.input.items() if name in inputs and len(inputs[name].shape) == len(given.shape) + 1}
    if not several:
        raise InputError("the method compares views of a clip; give it inputs of the shape (batch, views, ...), as a recipe does.")
    return {name: values[:, number] if name in several else values for name, values in inputs.items()}


def exits_of(outputs, spaces):
    """Name of each internal classifier's output to its label space: `action_exit_1` to `action`."""
    return {name: space for space in spaces for name in outputs if name.startswith(f"{space}_exit_")}
