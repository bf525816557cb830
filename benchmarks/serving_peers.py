"""Setup of the peers of the serving benchmark."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ports import free_port
from serving_classifiers import NAME, Classifiers

PEERS = Path(__file__).parent / "peers"


def kserve_torch(classifiers: Classifiers) -> tuple[str, ...]:
    """Return the command of a model of KServe's SDK that computes with torch in its `predict`."""
    return (sys.executable, str(PEERS / "kserve_torch.py"), str(classifiers.transformers), NAME, "{port}")


def mlserver(classifiers: Classifiers, folder: Path, *, int8: bool) -> tuple[str, ...]:
    """Return the command of MLServer with its Hugging Face runtime. Its settings are written into `folder`.

    int8: ONNX Runtime through optimum, with adaptive batching; otherwise torch, as the runtime comes.
    """
    programs = _environment(PEERS / "mlserver.txt") / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    weights = classifiers.optimum if int8 else classifiers.transformers
    extra = {"task": "text-classification", "pretrained_model": str(weights.resolve()), "optimum_model": int8}
    model = {"name": NAME, "implementation": "mlserver_huggingface.HuggingFaceRuntime", "parameters": {"extra": extra}}
    batching = {"max_batch_size": 32, "max_batch_time": 0.005} if int8 else {}
    (folder / "model-settings.json").write_text(json.dumps(model | batching))
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "debug": False, "metrics_endpoint": None}))
    # The ports are set in the environment, because each start has new ones.
    start = f"MLSERVER_HTTP_PORT=$PORT MLSERVER_GRPC_PORT={free_port()} exec {programs / 'mlserver'} start {folder}"
    return ("/bin/sh", "-c", start)


def _environment(requirements: Path) -> Path:
    """Return a virtual environment of exactly these packages below the user's cache; it is made if it does not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = cache / "labelwright" / "benchmarks" / requirements.stem
    made = folder / "requirements.sha256"
    if made.exists() and made.read_text() == wanted:
        return folder
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise FileNotFoundError("uv is needed to make the peers' environment: pip install uv")
    print(f"making {folder}: several GB, once", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "3.11", folder], check=True)
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(folder / "bin" / "python"), "-r", str(requirements)]
    subprocess.run(command, check=True)
    made.write_text(wanted)
    return folder
