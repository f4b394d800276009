"""The detector's loss: class, object, box and landmarks of the cells assigned to faces.

Parts and shares are those of YuNet's authors (github.com/ShiqiYu/libfacedetection.train). New parts are places that are
left out, faces of unknown size, and faces that only the original network found.
"""

from maskbatch.networks.yunet import BOX, CHANNELS, CLASS, LANDMARKS, OBJECT, STRIDES
from maskbatch.trainer.detector import targets
from maskbatch.trainer.detector.assign import assign, cells_of

_BOX_SHARE, _LANDMARK_SHARE = 5.0, 0.1
# class target of a face whose box is not learnt: the usual overlap of boxes of known faces
_USUAL_IOU = 0.85
_TINY = 1e-7


def raw_maps(network, side_px: int):
    """Return YuNet for views of one size, with its maps in one tensor (B, P, 16) of logits instead of probabilities.

    The model shares the network's weights.
    """
    import keras

    heads = keras.Model(network.inputs, [network.get_layer(f"head{stride}_depth").output for stride in STRIDES])
    image = keras.Input((side_px, side_px, 3), name="view")
    flat = [
        keras.layers.Reshape(((side_px // stride) ** 2, CHANNELS))(one)
        for stride, one in zip(STRIDES, heads(image), strict=True)
    ]
    return keras.Model(image, keras.layers.Concatenate(axis=1, name="raw_maps")(flat), name="yunet_training")


def detection_loss(target, raw):
    """Return the scalar loss of a batch, from tables (B, M, 17) of `face_table` and raw maps (B, P, 16)."""
    import tensorflow as tf

    cells = cells_of(raw.shape[1])
    xyxy = predicted_boxes(raw, cells)
    probability = tf.sigmoid(raw[..., :2])
    score = tf.sqrt(probability[..., CLASS] * probability[..., OBJECT])
    learnt = target[..., targets.SCORE] > 0
    face, iou, is_assigned = assign((target[..., targets.BOX], learnt), xyxy, score, cells)
    own = tf.gather(target, face, batch_dims=1)
    mask = tf.cast(is_assigned, tf.float32)
    sized, pointed = mask * own[..., targets.SIZED], mask * own[..., targets.HAS_LANDMARKS]
    class_target = tf.where(own[..., targets.SIZED] > 0, iou, _USUAL_IOU)
    total = tf.reduce_sum(mask * _entropy(class_target, raw[..., CLASS]))
    heeded = tf.maximum(mask, 1 - _left_out(target, cells))
    total += tf.reduce_sum(heeded * _entropy(mask * own[..., targets.SCORE], raw[..., OBJECT]))
    total += _BOX_SHARE * tf.reduce_sum(sized * _box_loss(own[..., targets.BOX], xyxy))
    total += _LANDMARK_SHARE * tf.reduce_sum(pointed * _landmark_loss(own[..., targets.LANDMARKS], raw, cells))
    return total / tf.maximum(tf.reduce_sum(mask), 1.0)


def _entropy(target, logit):
    """Return the binary cross-entropy of each cell minus that of the target itself, so that 0 is the best."""
    import tensorflow as tf

    best = -(target * tf.math.log(target + _TINY) + (1 - target) * tf.math.log(1 - target + _TINY))
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logit) - tf.stop_gradient(best)


def predicted_boxes(raw, cells):
    """Return the network's boxes (B, P, 4) in pixels."""
    import tensorflow as tf

    corner, stride = cells
    box = raw[..., BOX]
    centre = corner + box[..., :2] * stride[:, None]
    # far from any face, the network's sizes are arbitrary and must not overflow
    half = tf.exp(tf.clip_by_value(box[..., 2:], -4.0, 5.0)) * stride[:, None] / 2
    return tf.concat([centre - half, centre + half], axis=-1)


def _left_out(target, cells):
    """Return (B, P) float32: 1 where a cell's middle lies in a place that is left out of the loss."""
    import tensorflow as tf

    corner, stride = cells
    middle = (corner + stride[:, None] / 2)[None, None]
    box = target[:, :, None, targets.BOX]
    inside = tf.reduce_all((middle >= box[..., :2]) & (middle <= box[..., 2:]), axis=-1)
    return tf.cast(tf.reduce_any(inside & (target[..., targets.SCORE] == 0)[..., None], axis=1), tf.float32)


def _box_loss(wanted, xyxy):
    """Return the EIoU loss (B, P) of boxes (Zhang et al. 2022, arXiv:2101.08158): overlap, centre, width and height."""
    import tensorflow as tf

    low, high = tf.maximum(wanted[..., :2], xyxy[..., :2]), tf.minimum(wanted[..., 2:], xyxy[..., 2:])
    shared = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    size, own_size = wanted[..., 2:] - wanted[..., :2], xyxy[..., 2:] - xyxy[..., :2]
    union = tf.reduce_prod(size, axis=-1) + tf.reduce_prod(own_size, axis=-1) - shared
    around = tf.maximum(wanted[..., 2:], xyxy[..., 2:]) - tf.minimum(wanted[..., :2], xyxy[..., :2])
    shift = (wanted[..., :2] + wanted[..., 2:] - xyxy[..., :2] - xyxy[..., 2:]) / 2
    apart = tf.reduce_sum(shift**2, axis=-1) / tf.maximum(tf.reduce_sum(around**2, axis=-1), _TINY)
    unlike = tf.reduce_sum((size - own_size) ** 2 / tf.maximum(around**2, _TINY), axis=-1)
    return 1 - shared / tf.maximum(union, _TINY) + apart + unlike


def _landmark_loss(wanted, raw, cells):
    """Return the smooth L1 loss (B, P), summed over five landmarks, in strides."""
    import tensorflow as tf

    corner, stride = cells
    target = (wanted - tf.tile(corner, (1, 5))) / stride[:, None]
    error = tf.abs(target - raw[..., LANDMARKS])
    return tf.reduce_sum(tf.where(error < 1, 0.5 * error**2, error - 0.5), axis=-1)
