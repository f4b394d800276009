"""Assign cells of the network to the faces of a view: SimOTA, in TensorFlow.

Source: Ge et al. 2021, "YOLOX" (arXiv:2107.08430), the method that trained YuNet. The sum of the best IoUs of a face
determines its number of cells. The face gets the cells with the least cost of class, object and box.
"""

from maskbatch.networks.yunet import STRIDES

# cells whose middle is within this many strides of a face's centre, or inside its box, may learn it
_RADIUS = 2.5
# number of boxes whose IoU with a face determines its number of cells
_CANDIDATES = 10
_IOU_SHARE = 3.0
_NEVER, _OUTSIDE = 1e8, 1e5
_TINY = 1e-7


def cells_of(num_cells: int):
    """Return (corner (P, 2) float32 x, y in pixels, stride (P,) float32) of all cells of a square view, by stride."""
    import numpy as np

    # P cells of strides 8, 16 and 32 are S * S * (1 / 64 + 1 / 256 + 1 / 1024)
    side_px = round((num_cells / sum(1 / stride**2 for stride in STRIDES)) ** 0.5)
    corners, strides = [], []
    for stride in STRIDES:
        steps = np.arange(side_px // stride) * stride
        y, x = (grid.reshape(-1) for grid in np.meshgrid(steps, steps, indexing="ij"))
        corners.append(np.stack([x, y], axis=-1))
        strides.append(np.full(len(x), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def pairwise_iou(first, second):
    """Return the IoU (B, M, P) of boxes (B, M, 4) and (B, P, 4), xyxy."""
    import tensorflow as tf

    first, second = first[:, :, None], second[:, None]
    low, high = tf.maximum(first[..., :2], second[..., :2]), tf.minimum(first[..., 2:], second[..., 2:])
    shared = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    areas = [tf.reduce_prod(tf.maximum(box[..., 2:] - box[..., :2], 0.0), axis=-1) for box in (first, second)]
    return shared / tf.maximum(areas[0] + areas[1] - shared, _TINY)


def assign(wanted, xyxy, score, cells):
    """Return (face (B, P) int64, iou (B, P) float32, is_assigned (B, P) bool): each cell's face in `wanted`.

    Args:
        wanted: (boxes (B, M, 4), exists (B, M) bool) of the faces; faces that do not exist get no cell.
        xyxy: The network's boxes (B, P, 4).
        score: The network's scores (B, P), 0 to 1.
        cells: The result of `cells_of`.
    """
    import tensorflow as tf

    face_boxes, exists = wanted
    in_box, in_reach = _near(face_boxes, cells)
    iou = pairwise_iou(face_boxes, xyxy)
    may = (in_box | in_reach) & exists[..., None]
    cost = _IOU_SHARE * -tf.math.log(iou + _TINY) - tf.math.log(score + _TINY)[:, None]
    cost += tf.where(in_box & in_reach, 0.0, _OUTSIDE)
    cost = tf.where(may, cost, _NEVER)
    best_iou = tf.math.top_k(tf.where(may, iou, 0.0), _CANDIDATES).values
    number = tf.clip_by_value(tf.cast(tf.reduce_sum(best_iou, axis=-1), tf.int32), 1, _CANDIDATES)
    least = -tf.math.top_k(-cost, _CANDIDATES).values
    limit = tf.gather(least, number - 1, batch_dims=2)
    taken = may & (cost <= limit[..., None])
    face = tf.argmin(tf.where(taken, cost, _NEVER), axis=1)
    own_iou = tf.gather(tf.transpose(iou, (0, 2, 1)), face, batch_dims=2)
    return tuple(map(tf.stop_gradient, (face, own_iou, tf.reduce_any(taken, axis=1))))


def _near(face_boxes, cells):
    """Return (in_box, in_reach) (B, M, P) bool: the middle of the cell lies in the box, or near its centre."""
    import tensorflow as tf

    corner, stride = cells
    middle = (corner + stride[:, None] / 2)[None, None]
    low, high = face_boxes[:, :, None, :2], face_boxes[:, :, None, 2:]
    in_box = tf.reduce_all((middle > low) & (middle < high), axis=-1)
    reach = tf.reduce_max(tf.abs(middle - (low + high) / 2), axis=-1)
    return in_box, reach < _RADIUS * stride
