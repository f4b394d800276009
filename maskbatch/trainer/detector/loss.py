"""The detector's loss: focal loss on the heatmap, boxes and landmarks at the faces' centres."""

from maskbatch.trainer.detector import targets

# of CornerNet and CenterNet: how little easy cells count, and how little cells near a centre do
_ALPHA, _BETA = 2.0, 4.0
# smooth L1 is quadratic up to this error, in log size, cells and box sizes
_SMOOTH = 0.1
_BOX_SHARE, _LANDMARK_SHARE = 1.0, 0.25


def raw_maps(network):
    """CenterFace with its maps in one tensor (B, h, w, 15): the heatmap's logit, scale, offset, landmarks.

    It shares the network's weights; its batch norms are frozen: a few small batches say less about a camera's pictures
    than the statistics the network came with.
    """
    import keras

    for layer in network.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    names = ("heatmap_logit", "scale", "offset", "landmarks")
    joined = keras.layers.Concatenate(name="raw_maps")([network.get_layer(name).output for name in names])
    return keras.Model(network.inputs, joined, name="centerface_training")


def detection_loss(target, raw):
    """Loss of a batch, a scalar: targets (B, h, w, 19) of `target_maps`, and what `raw_maps` gives for them."""
    return heatmap_loss(target, raw[..., 0]) + _geometry_loss(target, raw)


def heatmap_loss(target, logit):
    """Penalty-reduced focal loss per annotated face (CornerNet, Law & Deng 2018), plus distillation.

    The cells where only the original network saw a face learn its score by the quality focal loss (Li et al. 2020,
    arXiv:2006.04388): no loss where they agree, so nothing is forgotten and nothing made up.
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
    """Smooth L1 of size, offset and landmarks, and 1 - IoU, per cell of the 3 x 3 around each centre.

    Sizes are logarithms, and the offset counts in box sizes as the landmarks do: two cells off is nothing on a face of
    fifty cells, and beside a face of three.
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
    """IoU (B, h, w) of the box each cell should give and the one it gives; both are relative to the same cell.

    What an evaluation counts, at 0.5 or 0.4, which smooth L1 alone does not steer for.
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
    """|error|, rounded off below `_SMOOTH` so that it can come to rest."""
    import tensorflow as tf

    size = tf.abs(error)
    return tf.where(size < _SMOOTH, size**2 / (2 * _SMOOTH), size - _SMOOTH / 2)
