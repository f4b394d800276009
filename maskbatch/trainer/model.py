"""The mask classifier's network, defined once for scan, train and evaluate."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch.analyse.classifier import CROP_PX
from maskbatch.errors import UsageError, WeightsError
from maskbatch.networks.weights import Network, find_int8, load_weights
from maskbatch.trainer.model_file import check_model_file

# the last layer of each head
P_MASK, P_INCORRECT, P_FACE = "p_mask", "p_incorrect", "p_face"
_SIZES_PX = range(32, 513)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network of `keras.applications` and its name there; `normalises` is true if it takes pixels of 0-255."""

    application: str
    normalises: bool


BACKBONES = {
    "mobilenet_v2": Backbone("MobileNetV2", normalises=False),
    "mobilenet_v3_large": Backbone("MobileNetV3Large", normalises=True),
    "resnet50_v2": Backbone("ResNet50V2", normalises=False),
    "efficientnet_v2_b0": Backbone("EfficientNetV2B0", normalises=True),
}


def build_model(
    backbone: str = "mobilenet_v2",
    base_weights: str | None = "imagenet",
    unit_scale: bool = False,
    size_px: int = CROP_PX,
    third_state: bool = False,
):
    """Build the classifier: RGB (N, size_px, size_px, 3) 0-255 -> p_mask (N, 1) in 0-1.

    Backbone -> GlobalAveragePooling2D -> Dense 128 ReLU -> Dropout 0.5 -> Dense 1 sigmoid. Normalisation is part of the
    graph, so a saved model takes pixels. The backbone always runs in inference mode: its batch norms keep the
    statistics of ImageNet, which small, imbalanced batches would spoil. The third state adds a second head on the same
    pooled features, Dense 64 ReLU -> Dropout 0.5 -> Dense 1 sigmoid. The output then has two columns: p_mask,
    p_incorrect (N, 2).

    Args:
        backbone: A key of `BACKBONES`.
        base_weights: "imagenet" (downloaded by Keras), a weights file of this backbone, or None for random weights.
        unit_scale: Divide pixels by 255 instead of scaling them to -1 to 1; no effect on a backbone that normalises.
        size_px: Side of the crops.
        third_state: Add p_incorrect, the probability that a mask is worn incorrectly.

    Raises:
        UsageError: There is no such backbone, or the crops are too small or too large.
        WeightsError: The weights cannot be downloaded or read, or do not fit.
    """
    if backbone not in BACKBONES or size_px not in _SIZES_PX:
        raise UsageError(
            f"there is no classifier of {size_px} px on {backbone!r}: take {_SIZES_PX[0]} to {_SIZES_PX[-1]} px, and one of "
            f"{', '.join(BACKBONES)}"
        )
    import keras
    from keras import layers

    image = keras.Input((size_px, size_px, 3), name="image")
    chosen = BACKBONES[backbone]
    base = _build_base(chosen, base_weights, size_px)
    scale, offset = (1 / 255, 0) if unit_scale else (1 / 127.5, -1)
    x = image if chosen.normalises else layers.Rescaling(scale, offset=offset, name="normalise")(image)
    pooled = layers.GlobalAveragePooling2D(name="pool")(base(x, training=False))
    x = layers.Dense(128, activation="relu", name="hidden")(pooled)
    x = layers.Dropout(0.5, name="dropout")(x)
    output = layers.Dense(1, activation="sigmoid", name=P_MASK, dtype="float32")(x)
    if third_state:
        x = layers.Dense(64, activation="relu", name="hidden_incorrect")(pooled)
        x = layers.Dropout(0.5, name="dropout_incorrect")(x)
        p_incorrect = layers.Dense(1, activation="sigmoid", name=P_INCORRECT, dtype="float32")(x)
        output = layers.Concatenate(name="states", dtype="float32")([output, p_incorrect])
    return keras.Model(image, output, name=f"mask_{backbone}")


def with_face_output(model, kernel, bias: float):
    """Return a classifier of three states with a third column: p_face, the probability that a crop shows a face.

    It is a logistic regression on the same pooled features, with `kernel` (features,) float32; the other outputs stay
    the same. A p_face that the classifier already has is replaced.
    """
    import keras
    from keras import layers

    head = layers.Dense(1, activation="sigmoid", name=P_FACE, dtype="float32")
    p_face = head(model.get_layer("pool").output)
    head.set_weights([kernel.reshape(-1, 1), np.array([bias], np.float32)])
    states = model.get_layer("states").output
    output = layers.Concatenate(name="outputs", dtype="float32")([states, p_face])
    return keras.Model(model.input, output, name=model.name)


def backbone_of(model):
    """Return the backbone inside a model of `build_model` (the layer that is itself a model)."""
    import keras

    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def unfreeze(model, first_layer: int | None) -> None:
    """Make the backbone's layers from index `first_layer` trainable; None freezes all of them. The head always trains."""
    base = backbone_of(model)
    base.trainable = first_layer is not None
    for layer in base.layers[:first_layer]:
        layer.trainable = False


def classifier_network(path: Path) -> Network:
    """Return the classifier at `path` for `open_network`, with 8-bit weights if they are shipped."""
    return Network("mask", path, lambda: load_model(path), find_int8(path))


def load_model(path: Path):
    """Load a saved classifier (`.keras`) in Keras's safe mode, which runs no code from the file.

    Raises WeightsError when the file is not a Keras model, holds layers that are not for pictures, or does not have the
    shapes of a classifier.
    """
    check_model_file(path)
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types for foreign files
        reason = str(error).strip().split("\n")[0][:200]
        raise WeightsError(f"{path} is not a model that Keras can load safely: {reason}") from error
    # three columns of another model may be three classes
    columns = (1, 2, 3) if any(layer.name == P_FACE for layer in model.layers) else (1, 2)
    if not _is_square(model.input_shape) or model.output_shape not in {(None, number) for number in columns}:
        raise WeightsError(
            f"{path} does not fit: a mask classifier takes (None, S, S, 3), with S from {_SIZES_PX[0]} to {_SIZES_PX[-1]}, "
            f"and gives (None, 1) or (None, 2); this model takes {model.input_shape} and gives {model.output_shape}. "
            "Train one with maskbatch train"
        )
    return model


def _is_square(shape: object) -> bool:
    """Return True for the input shape of a classifier. A model with several inputs has a list or a dict of shapes."""
    return isinstance(shape, tuple) and shape[1:] in {(size, size, 3) for size in _SIZES_PX}


def _build_base(backbone: Backbone, base_weights: str | None, size_px: int):
    import keras

    build = getattr(keras.applications, backbone.application)
    options = {"include_preprocessing": True} if backbone.normalises else {}
    shape = (size_px, size_px, 3)
    if base_weights is None or base_weights == "imagenet":
        try:
            return build(input_shape=shape, include_top=False, weights=base_weights, **options)
        except Exception as error:  # an error of urllib or Keras, depending on the cause
            raise WeightsError(
                f"cannot download the ImageNet weights of {backbone.application} ({error}). Either run once with a "
                "network connection (Keras keeps them in ~/.keras), or give a weights file with --base-weights FILE"
            ) from error
    base = build(input_shape=shape, include_top=False, weights=None, **options)
    load_weights(base, Path(base_weights), backbone.application)
    return base
