"""Networks and the runtimes that run them: devices, TensorFlow, OpenVINO, the user's cache, shipped weights."""

import sys

# OpenVINO and NNCF report their use to an analytics host and keep a client number in the user's home, unless their
# telemetry package cannot be imported
sys.modules["openvino_telemetry"] = None
