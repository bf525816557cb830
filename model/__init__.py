"""What a trained classifier is, and the server that answers with it."""

import os

# Releases of onnxruntime report their use to its makers unless told not to, before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
