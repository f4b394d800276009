"""The detector's loss: focal loss on the heatmap, boxes and landmarks at the faces' centres."""

from maskbatch.trainer.detector import targets

# exponents of CornerNet and CenterNet, which reduce the weight of easy cells and of cells near a centre
_ALPHA, _BETA = 2.0, 4.0
# smooth L1 is quadratic up to this error, in log size, cells and box sizes
_SMOOTH = 0.1
_BOX_SHARE, _LANDMARK_SHARE = 1.0, 0.25


def raw_maps(network):
    """Return CenterFace with its maps in one tensor (B, h, w, 15): the heatmap's logit, scale, offset, landmarks.

    The model shares the network's weights. Batch norms are frozen, because their statistics are better than those of a few
    small batches.
    """
    import keras

    for layer in network.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    names = ("heatmap_logit", "scale", "offset", "landmarks")
    joined = keras.layers.Concatenate(name="raw_maps")([network.get_layer(name).output for name in names])
    return keras.Model(network.inputs, joined, name="centerface_training")


def detection_loss(target, raw):
    """Return the loss of a batch, a scalar, for targets (B, h, w, 19) of `target_maps` and the output of `raw_maps`."""
    return heatmap_loss(target, raw[..., 0]) + _geometry_loss(target, raw)


def heatmap_loss(target, logit):
    """Return the penalty-reduced focal loss per annotated face (CornerNet, Law & Deng 2018), plus distillation.

    Cells in which only the original network saw a face learn its score by the quality focal loss (Li et al. 2020,
    arXiv:2006.04388), which is zero where both networks agree.
    """
    import tensorflow as tf

    probability = tf.sigmoid(logit)
    log_yes, log_no = tf.math.log_sigmoid(logit), tf.math.log_sigmoid(-logit)
    heat, weight, soft = (target[..., i] for i in (targets.HEAT, targets.HEAT_WEIGHT, targets.SOFT))
    is_centre = tf.cast(heat >= 1, tf.float32)
    positive = is_centre * (1 - probability) ** _ALPHA * log_yes
    negative = (1 - is_centre) * (1 - heat) ** _BETA * probability**_ALPHA * log_no
    entropy = soft * log_yes + (1 - soft) * log_no
    distilled = tf.cast(soft > 0, tf.float32) * (soft - probability) ** 2 * entropy
    total = -tf.reduce_sum(weight * (positive + negative) + distilled)
    return total / tf.maximum(tf.reduce_sum(is_centre) + tf.reduce_sum(tf.cast(soft > 0, tf.float32)), 1.0)


def _geometry_loss(target, raw):
    """Return smooth L1 of size, offset and landmarks, and 1 - IoU, per cell of the 3 x 3 around each centre.

    Sizes are logarithms; offsets and landmarks are in box sizes, because two cells matter for a face of three cells and
    not for a face of fifty.
    """
    import tensorflow as tf

    box, points = target[..., targets.BOX_WEIGHT], target[..., targets.LANDMARK_WEIGHT]
    size, offset = target[..., targets.SIZE], target[..., targets.OFFSET]
    overlap = _iou(size, offset, raw)
    shift = (offset - raw[..., 3:5]) / tf.exp(size)
    per_box = tf.reduce_sum(_smooth_l1(size - raw[..., 1:3]) + _smooth_l1(shift), axis=-1)
    per_box += 1 - overlap
    per_points = tf.reduce_sum(_smooth_l1(target[..., targets.LANDMARKS] - raw[..., 5:15]), axis=-1)
    boxes_loss = tf.reduce_sum(box * per_box) / tf.maximum(tf.reduce_sum(box), 1.0)
    points_loss = tf.reduce_sum(points * per_points) / tf.maximum(tf.reduce_sum(points), 1.0)
    return _BOX_SHARE * boxes_loss + _LANDMARK_SHARE * points_loss


def _iou(size, offset, raw):
    """Return the IoU (B, h, w) of each cell's target box and its own box; both are relative to the same cell.

    An evaluation counts boxes by their IoU, which smooth L1 alone does not optimise.
    """
    import tensorflow as tf

    # far from any face the network's sizes are free, and must not overflow
    half, own_half = tf.exp(size) / 2, tf.exp(tf.clip_by_value(raw[..., 1:3], -3.0, 7.0)) / 2
    low = tf.maximum(offset - half, raw[..., 3:5] - own_half)
    high = tf.minimum(offset + half, raw[..., 3:5] + own_half)
    shared = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    union = tf.reduce_prod(2 * half, axis=-1) + tf.reduce_prod(2 * own_half, axis=-1) - shared
    return shared / union


def _smooth_l1(error):
    """Return |error|, but quadratic below `_SMOOTH`, so that small errors can settle."""
    import tensorflow as tf

    size = tf.abs(error)
    return tf.where(size < _SMOOTH, size**2 / (2 * _SMOOTH), size - _SMOOTH / 2)
