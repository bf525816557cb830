"""Format of a published version, and the server that answers with one."""

import os

# Some releases of onnxruntime send usage data unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
