"""CenterFace in Keras: the face detector's network.

Anchor-free: a MobileNetV2 backbone (Sandler et al. 2018), a top-down pyramid of three 2x2 transposed convolutions that
ends at stride 4, and four 1x1 heads. Source: Xu et al. 2019, "CenterFace: Joint Face Detection and Alignment Using Face
as Point" (arXiv:1911.03599), github.com/Star-Clouds/CenterFace, MIT.
"""

from pathlib import Path

from maskbatch.errors import WeightsError
from maskbatch.networks.weights import Network, find, find_int8

STRIDE = 4
_NECK = 24
# (expansion, channels, repeats, stride) of each group of inverted residual blocks
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# the groups whose output goes into the pyramid: strides 4, 8, 16, 32
_TAPS = (1, 2, 4, 6)


def build_network():
    """Build the untrained network: RGB (B, H, W, 3) 0-255, H and W multiples of 32 -> four maps at stride 4.

    `heatmap` (B, H/4, W/4, 1) is in 0-1. `scale` (…, 2) is the log of height, width over the stride. `offset` (…, 2) is y, x
    in cells. `landmarks` (…, 10) are y, x of five points in box sizes from the box's top left corner. Batch norms are folded
    in as in the ONNX file that the weights come from, except those of the pyramid.
    """
    import keras
    from keras import layers

    image = keras.Input((None, None, 3), name="image")
    x = layers.ReLU()(_conv(image, 32, 3, 2, name="stem"))
    taps = []
    for group, (expansion, channels, repeats, stride) in enumerate(_BLOCKS):
        for repeat in range(repeats):
            block = (expansion, channels, stride if repeat == 0 else 1)
            x = _inverted_residual(x, block, f"block{group}_{repeat}")
        if group in _TAPS:
            taps.append(x)
    x = layers.ReLU()(_conv(taps[3], _NECK, 1, name="lateral3"))
    for level in (2, 1, 0):
        x = layers.Conv2DTranspose(_NECK, 2, strides=2, use_bias=False, name=f"up{level}")(x)
        x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=f"up{level}_bn")(x))
        x = layers.Add()([x, layers.ReLU()(_conv(taps[level], _NECK, 1, name=f"lateral{level}"))])
    x = layers.ReLU()(_conv(x, _NECK, 3, name="fuse"))
    heatmap = layers.Activation("sigmoid", name="heatmap")(_conv(x, 1, 1, name="heatmap_logit"))
    maps = [heatmap, *(_conv(x, n, 1, name=name) for name, n in (("scale", 2), ("offset", 2), ("landmarks", 10)))]
    return keras.Model(image, maps, name="centerface")


def _conv(x, filters: int, kernel: int, stride: int = 1, name: str = ""):
    from keras import layers

    x, padding = _padded(x, stride)
    return layers.Conv2D(filters, kernel, strides=stride, padding=padding, name=name)(x)


def _inverted_residual(x, block: tuple[int, int, int], name: str):
    """Apply MobileNetV2's block (expansion, channels, stride), with a shortcut where the shapes allow one."""
    from keras import layers

    expansion, channels, stride = block
    y = layers.ReLU()(_conv(x, x.shape[-1] * expansion, 1, name=f"{name}_expand")) if expansion > 1 else x
    y, padding = _padded(y, stride)
    y = layers.ReLU()(layers.DepthwiseConv2D(3, strides=stride, padding=padding, name=f"{name}_depthwise")(y))
    y = _conv(y, channels, 1, name=f"{name}_project")
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == channels else y


def _padded(x, stride: int):
    """Return `x` ready for a convolution, and the convolution's padding argument.

    PyTorch pads both sides by one. At stride 2, Keras's "same" would pad only right and bottom.
    """
    from keras import layers

    return (layers.ZeroPadding2D(1)(x), "valid") if stride == 2 else (x, "same")


def shipped_network() -> Network:
    """Return the network with shipped weights. Raises WeightsError when they are missing or damaged."""
    path = find("centerface")
    return Network("centerface", path, lambda: load_network(path), find_int8(path))


def load_network(path: Path):
    """Return the Keras model with the weights of a file. Raises WeightsError when the file is not for CenterFace."""
    network = build_network()
    try:
        network.load_weights(path)
    except Exception as error:  # Keras and HDF5 raise many kinds
        raise WeightsError(f"{path} does not hold CenterFace's weights: {error}") from error
    return network
