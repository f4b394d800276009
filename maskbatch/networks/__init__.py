"""Networks and where they run: devices, runtimes, converted copies, shipped weights."""

import sys

# OpenVINO and NNCF report their use to an analytics host, and keep a client number in the user's home, unless the package
# that does so cannot be imported
sys.modules["openvino_telemetry"] = None
