"""Check the content of a `.keras` file before Keras loads it, without running any of its code.

Keras's safe mode refuses code in the file, but some versions had gaps: old formats that were not covered,
configurations that name functions of any Python module, and layers that read other files. Therefore only Keras's own
layers for pictures are accepted.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from maskbatch.errors import WeightsError

_MOST_CONFIG_BYTES, _MOST_BYTES = 1 << 26, 1 << 31
_LAYER_NAMES = (
    "Activation Add AlphaDropout Average AveragePooling2D BatchNormalization CenterCrop Concatenate Conv2D Conv2DTranspose "
    "Cropping2D Dense DepthwiseConv2D Dot Dropout ELU Flatten GaussianDropout GaussianNoise GlobalAveragePooling2D "
    "GlobalMaxPooling2D GroupNormalization InputLayer LayerNormalization LeakyReLU MaxPooling2D Maximum Minimum "
    "MultiHeadAttention Multiply Normalization Permute PReLU ReLU Rescaling Reshape Resizing SeparableConv2D Softmax "
    "SpatialDropout2D Subtract UnitNormalization UpSampling2D ZeroPadding2D"
)
_LAYERS = frozenset(_LAYER_NAMES.split())
# other modules in a configuration: initial values and limits of weights, number formats, and the model itself
_MODULES = frozenset({"keras.initializers", "keras.regularizers", "keras.constraints", "keras.dtype_policies"})
_MODELS = frozenset(f"keras{module}" for module in ("", ".models", ".src.models.functional", ".src.models.sequential"))
_ARITHMETIC = frozenset({"keras.src.ops.numpy"})  # x + y and x * y between layers


def check_model_file(path: Path) -> None:
    """Raise WeightsError when `path` is not a `.keras` archive, is huge when unpacked, or holds other layers."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {item.filename: item.file_size for item in archive.infolist()}
            if sizes.get("config.json", 0) > _MOST_CONFIG_BYTES or sum(sizes.values()) > _MOST_BYTES:
                raise WeightsError(f"{path} is refused: unpacked, the file is larger than any mask classifier")
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError, RecursionError) as error:
        raise WeightsError(f"{path} is not a .keras model: give one that maskbatch train made ({error})") from error
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    for part in _parts(config):
        if not _is_taken(part):
            name = ".".join(str(part[key]) for key in ("module", "class_name") if part.get(key))
            raise WeightsError(
                f"{path} is refused: it holds {name}. Only Keras's own layers for pictures are loaded from a file, because "
                "other layers can run code or read files"
            )


def _is_taken(part: dict) -> bool:
    module, name = part.get("module"), part.get("class_name")
    if name == "__keras_tensor__":  # a connection between layers
        return module is None
    if name in ("Functional", "Sequential"):
        return module in _MODELS
    if module == "keras.layers" or module in _ARITHMETIC:
        return name in _LAYERS
    return (module == "keras" and name == "DTypePolicy") or (module in _MODULES and name != "function")


def _parts(config: object) -> Iterator[dict]:
    """Yield every object with a class, at any depth, without recursion, which a hostile file could exhaust."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
