"""What a stream remembers between two of its steps."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """All that is known of a stream. It is never written to: an old one may be gone back to, and any number of streams run side by side.

    Attributes:
        tensors: name to array, as the artifact's `state` describes them.
        seen: observations or frames that have come.
    """

    tensors: Mapping[str, np.ndarray]
    seen: int = 0


def new_state(artifact):
    """The `State` of a stream before anything has come."""
    return State(tensors={name: np.zeros(entry["shape"], entry["dtype"]) for name, entry in artifact.manifest["state"].items()})


def check_state(artifact, state):
    """Refuse the `State` of a stream of another artifact.

    Raises:
        InputError: its tensors have other names or shapes.
    """
    expected = {name: entry["shape"] for name, entry in artifact.manifest["state"].items()}
    if {name: list(value.shape) for name, value in state.tensors.items()} != expected:
        raise InputError(f"this state is not one of {artifact.folder}; give what open_stream or the last step of it gave.")
