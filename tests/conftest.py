"""Settings of the whole test run."""

import os

# before TensorFlow and OpenCV are imported by any test
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
