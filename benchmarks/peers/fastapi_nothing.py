"""FastAPI that parses a submission and does nothing with it: what the gateway's API costs at least.

python benchmarks/peers/fastapi_nothing.py PORT
"""

from __future__ import annotations

import sys
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI

app = FastAPI()


@app.post("/api/predict/", status_code=202)
async def submit(article: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    """Answer as the gateway does."""
    return {"task_id": f"none-{len(article)}", "status": "pending"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
