"""What all tests share: the optional folder of real data, and TensorFlow kept to a few threads and quiet."""

import os
import pathlib

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real annotations and videos; its files have licences that keep them out of this repository."""
    folder = pathlib.Path(os.environ.get("EGOKERAS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set EGOKERAS_DATA to its folder")
    return folder
