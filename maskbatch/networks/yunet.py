"""YuNet in Keras: the face detector's network.

Anchor-free, with 75,856 parameters: units of a 1x1 and a depthwise 3x3 convolution, a top-down pyramid, and heads at the
strides 8, 16 and 32. Source: Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research
20), github.com/ShiqiYu/libfacedetection.train, Apache-2.0.
"""

from dataclasses import replace
from pathlib import Path

from maskbatch.networks.weights import Network, find, find_int8, load_weights
from maskbatch.networks.yunet_openvino import arrange

STRIDES = (8, 16, 32)
# channels of each map: two probabilities, a box, five landmarks
CLASS, OBJECT, BOX, LANDMARKS = 0, 1, slice(2, 6), slice(6, 16)
CHANNELS = 16
# channels of the pyramid
WIDTH = 64
# stages of the backbone after the stem: number, units, and True if pooling comes first; the stem ends at stride 2
_STAGES = ((1, 2, True), (2, 2, False), (3, 2, True), (4, 2, True), (5, 2, True))
# stages whose output goes into the pyramid: strides 8, 16, 32
_TAPS = (3, 4, 5)


def build_network():
    """Build the untrained network: RGB (B, H, W, 3) 0-255, H and W multiples of 32 -> three maps (B, H/s, W/s, 16).

    The maps have the strides s = 8, 16 and 32. Their channels are:

    - the probabilities of the class and of the object; the score of a face is the square root of their product
    - x, y of the box's centre, in cells from the corner of the cell
    - the logarithms of the box's width and height, divided by the stride
    - x, y of five landmarks, in the same units as the centre

    Batch norms are folded into the convolutions, as in the ONNX file that the weights come from. One unit of 16
    channels serves as the heads for class, object, box and landmarks: no head reads the channels of another.
    """
    import keras
    from keras import layers

    image = keras.Input((None, None, 3), name="image")
    x = layers.ZeroPadding2D(1, name="stem_pad")(image)
    x = layers.ReLU()(layers.Conv2D(16, 3, strides=2, name="stem")(x))
    x = _unit(x, 16, "stage0_1")
    taps = []
    for stage, units, pools in _STAGES:
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x) if pools else x
        for number in range(units):
            x = _unit(x, 16 if (stage, number) == (1, 0) else WIDTH, f"stage{stage}_{number}")
        taps += [x] if stage in _TAPS else []
    levels = [_unit(taps[2], WIDTH, "lateral2")]
    for level in (1, 0):
        up = layers.UpSampling2D(2, interpolation="nearest", name=f"up{level}")(levels[0])
        levels.insert(0, _unit(layers.Add(name=f"add{level}")([taps[level], up]), WIDTH, f"lateral{level}"))
    return keras.Model(image, [_head(x, stride) for x, stride in zip(levels, STRIDES, strict=True)], name="yunet")


def _unit(x, channels: int, name: str, activate: bool = True):
    """Apply YuNet's unit: a 1x1 convolution without activation, then a depthwise 3x3 convolution."""
    from keras import layers

    x = layers.Conv2D(channels, 1, name=f"{name}_point")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depth")(x)
    return layers.ReLU()(x) if activate else x


def _head(x, stride: int):
    """Apply the shared unit of a level, then its heads."""
    from keras import layers

    x = _unit(_unit(x, WIDTH, f"share{stride}"), CHANNELS, f"head{stride}", activate=False)
    probabilities = layers.Activation("sigmoid", name=f"probabilities{stride}")(x[..., : BOX.start])
    return layers.Concatenate(name=f"map{stride}")([probabilities, x[..., BOX.start :]])


def shipped_network() -> Network:
    """Return the network with shipped weights. Raises WeightsError when they are missing or damaged."""
    path = find("yunet")
    return replace(network_of(path), int8=find_int8(path))


def network_of(path: Path) -> Network:
    """Return the network with the weights of a file, which may be any weights of YuNet."""
    return Network("yunet", path, lambda: load_network(path), arrange=arrange)


def load_network(path: Path):
    """Return the Keras model with the weights of a file. Raises WeightsError when the file is not for YuNet."""
    network = build_network()
    load_weights(network, path, "YuNet")
    return network
