"""Tiny datasets, detectors and networks for the trainer's tests."""

import json

import cv2
import numpy as np

from maskbatch.trainer.data.dataset import read_datasets, split_pictures
from maskbatch.trainer.data.samples import load_samples
from maskbatch.types import Faces

VOC = """<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
</object></annotation>"""
# eyes, nose and mouth corners of the face that `detect_middle` finds
POINTS = np.array([(40, 33), (52, 33), (46, 41), (41, 49), (51, 49)], np.float32)


def write_picture(path, value, size=(120, 90)):
    """Write a flat grey picture, whose value tells its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))


def textured(seed, size=(160, 120)):
    """Return a picture (H, W, 3) uint8 of soft blobs, different for each seed."""
    blobs = np.random.default_rng(seed).uniform(0, 255, (9, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(blobs, size, interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def class_folders(root, count=6):
    """Write bright pictures with a mask and dark ones without."""
    for i in range(count):
        write_picture(root / "with_mask" / f"{i}.png", 200 + i)
        write_picture(root / "without_mask" / f"{i}.png", 40 + i)
    return root


def scenes(root, labels=("with_mask", "without_mask", "mask_worn_incorrectly")):
    """Write one picture for each label, with one box (Pascal VOC)."""
    for i, label in enumerate(labels):
        write_picture(root / "images" / f"{i}.jpg", 60 * i + 50)
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"{i}.xml").write_text(VOC.format(label, 30, 20, 60, 60))
    return root


def coco_scenes(root, folder="annotations", labels=("with_mask", "without_mask", "mask_worn_incorrectly")):
    """Write the same pictures with one COCO file in `folder`, which has a crowd region too."""
    names = list(dict.fromkeys(["faces", *labels]))
    boxes = [{"id": i, "image_id": i, "category_id": names.index(label), "bbox": [30, 20, 30, 40], "iscrowd": 0} for
             i, label in enumerate(labels)]  # fmt: skip
    crowd = {"id": 99, "image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(len(labels))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [*boxes, crowd],
    }
    for i in range(len(labels)):
        write_picture(root / "images" / f"{i}.jpg", 60 * i + 50)
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "instances_val.json").write_text(json.dumps(content))
    return root


def detect_nothing(images):
    """Find no face."""
    return Faces.empty()


def detect_middle(images):
    """Find one face in the middle of each picture, a little beside the annotation."""
    count = len(images)
    xyxy = np.tile(np.array([32, 22, 60, 60], np.float32), (count, 1))
    return Faces(np.arange(count), xyxy, np.ones(count, np.float32), np.tile(POINTS, (count, 1, 1)))


def grey_samples(tmp_path, count=6, detect=detect_nothing):
    """Return samples whose class is their brightness."""
    pictures = split_pictures(read_datasets([class_folders(tmp_path / "faces", count)]), 0.34, seed=0)
    return load_samples(pictures, detect)


def tiny_model(backbone=None, base_weights=None, unit_scale=False, size_px=224, third_state=False):
    """Return a network with the classifier's shape and layer names that trains in a moment."""
    import keras
    from keras import layers

    image = keras.Input((size_px, size_px, 3), name="image")
    inside = keras.Input((size_px, size_px, 3))
    small = layers.AveragePooling2D(32, name="shrink")(inside)
    base = keras.Model(inside, layers.Conv2D(4, 3, activation="relu", name="conv")(small), name="tiny")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="normalise")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(base(x, training=False))
    x = layers.Dropout(0.5, name="dropout")(layers.Dense(8, activation="relu", name="hidden")(x))
    states = [layers.Dense(1, activation="sigmoid", name="p_mask", dtype="float32")(x)]
    if third_state:
        states.append(layers.Dense(1, activation="sigmoid", name="p_incorrect", dtype="float32")(x))
    return keras.Model(image, layers.Concatenate(name="states")(states) if third_state else states[0])


def drawn_face(skin, mask=None, size=120):
    """Return a picture (size, size, 3) uint8 that a face of one colour fills, and its landmarks (5, 2).

    A mask of another colour covers nose, mouth and chin. What is above the forehead is grey.
    """
    image = np.full((size, size, 3), skin, np.uint8)
    image[: size // 8] = 128
    if mask is not None:
        image[size * 9 // 16 :] = mask
    points = np.array([(0.35, 0.42), (0.65, 0.42), (0.5, 0.6), (0.4, 0.75), (0.6, 0.75)], np.float32)
    return image, points * size
