"""Model files from elsewhere: only Keras's own layers for pictures are accepted."""

import json
import re
import zipfile

import pytest

from maskbatch.errors import WeightsError
from maskbatch.trainer.model import load_model
from maskbatch.trainer.model_file import check_model_file


def test_a_model_file_cannot_run_code_or_read_files(tmp_path):
    """A Lambda, a vocabulary read from a file and a Python function by name are refused and never loaded, even in the
    innermost layer.
    """
    import keras

    image = keras.Input((224, 224, 3))
    inner = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Lambda(lambda x: x)])
    keras.Model(image, keras.layers.Dense(1)(inner(image))).save(tmp_path / "x.keras")
    with pytest.raises(WeightsError, match=r"holds keras\.layers\.Lambda"):
        load_model(tmp_path / "x.keras")
    parts = {
        "os.system": {"module": "os", "class_name": "system", "config": "touch x"},
        "builtins.function": {"module": "builtins", "class_name": "function", "config": "eval"},
        "keras.config.function": {"module": "keras.config", "class_name": "function", "config": "enable_unsafe"},
        "keras.layers.StringLookup": {"module": "keras.layers", "class_name": "StringLookup", "config": {}},
        "Dense": {"class_name": "Dense", "config": {}},
    }
    for name, part in parts.items():
        with zipfile.ZipFile(tmp_path / "y.keras", "w") as archive:
            archive.writestr("config.json", json.dumps({"layers": [{"config": [part]}]}))
        with pytest.raises(WeightsError, match=f"holds {re.escape(name)}\\."):
            check_model_file(tmp_path / "y.keras")


def test_a_model_file_larger_than_memory_is_refused(tmp_path):
    """An archive of a few kilobytes that unpacks to 100 MB of configuration is refused unread."""
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 100_000_000)
    with pytest.raises(WeightsError, match="larger than any mask classifier"):
        check_model_file(tmp_path / "x.keras")
