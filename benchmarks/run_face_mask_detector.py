"""Run face-mask-detector 0.2.3, in its own environment, on a folder of photos, and write annotated copies.

    python run_face_mask_detector.py FOLDER OUT [FOUND.json]

The program does the same as the package's `display_image_with_face_mask_detections`, with the package's functions. It loads
the classifier once instead of once a photo, and writes the picture instead of showing it. FOUND.json then has, by photo,
each face's box (left, top, right, bottom in pixels) and the answer masked or not.
"""

import json
import sys
from pathlib import Path

import cv2
from face_mask_detector import get_face_mask_detections, lib, load_face_mask_detector_model

CONFIDENCE = 0.5  # the default of its command line


def annotate(model, source: Path, target: Path) -> tuple[list[str], list[list]]:
    """Annotate one photo; return the labels of its faces, and [*box, masked] of each. Raises cv2.error as the package."""
    image = cv2.imread(str(source))
    locations, predictions = get_face_mask_detections(model, image, CONFIDENCE)
    labels = [lib._get_box_label_from_prediction(prediction) for prediction in predictions]
    for label, box in zip(labels, locations, strict=True):
        lib._add_labeled_box_to_image(image, label, *box)
    cv2.imwrite(str(target), image)
    masked = [bool(prediction[0] > prediction[1]) for prediction in predictions]
    found = [[*map(int, box), is_masked] for box, is_masked in zip(locations, masked, strict=True)]
    return [f"{word} {probability:.2f}" for word, probability, _ in labels], found


def main() -> None:
    """Print a line per photo, and counts at the end."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    model = load_face_mask_detector_model()
    num_faces = num_failed = 0
    found: dict[str, list] = {}
    photos = sorted(folder.iterdir())
    for source in photos:
        try:
            labels, found[source.name] = annotate(model, source, out / source.name)
        except cv2.error as error:
            num_failed += 1
            print(f"{source.name}: failed: {error.err}")
            continue
        num_faces += len(labels)
        print(f"{source.name}: {', '.join(labels) or 'no face'}")
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(found))
    print(f"{len(photos)} photos, {num_faces} faces, {num_failed} failed")


if __name__ == "__main__":
    main()
