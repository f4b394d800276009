"""maskbatch: who wore a mask, where and when, and how sure are we?"""

import os
import sys

__version__ = "0.1.0"

# OpenCV reads this when it is loaded: before it asks for memory, it refuses what media.photos.MAX_PIXELS would refuse after
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "250000000")

# OpenVINO and NNCF report their use to an analytics host, and keep a client number in the user's home, unless the package
# that does so cannot be imported
sys.modules["openvino_telemetry"] = None
