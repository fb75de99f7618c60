"""A dataset of two small images with masks and keypoints."""

import json

from PIL import Image

NAMES = ["nose", "left_eye", "right_eye"]


def write_set(folder, name="set", keypoints=NAMES, size=(64, 48)):
    """Two images with two objects each; writes and returns the json's path."""
    width, height = size
    categories = [{"id": k, "name": f"class {k}", "keypoints": list(keypoints)} for k in (1, 2)]
    images, annotations = [], []
    for k in (1, 2):
        Image.new("RGB", size, (90 * k, 50, 20)).save(folder / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": width, "height": height})
        for x in (4, 34):
            number = len(annotations) + 1
            shape = [[x, 6, x + 24, 6, x + 24, 36, x, 36]]
            points = [value for n in range(len(keypoints)) for value in (x + 2 + 3 * n, 9, 2)]
            annotations.append(
                {"id": number, "image_id": k, "category_id": k, "bbox": [x, 6, 24, 30], "area": 720, "iscrowd": 0}
                | {"segmentation": shape, "keypoints": points, "num_keypoints": len(keypoints)}
            )
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file
