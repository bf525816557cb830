"""Controller with 200 classifiers: duration of a pass, calls to the API server, memory.

    python benchmarks/controller.py [--classifiers 200] [--changes 50] [--every 1] [--idle-seconds 120]

Everything is real but the Pods: the API server and KServe of the kubeconfig, the controller as a process with its own account,
Jobs, Deployments. A Node without a machine (controller_node.py) reports the status of each Pod, so a training takes two seconds
and no predictor runs. Needs all rights in the cluster, the CRDs of k8s/manifests/controller,
KServe, openssl, and an API server that can reach this machine. It changes only its own namespace; its Node, webhook and flow
schemas apply to that namespace only, and are deleted with it.

Ends with 1 if a figure misses its goal. After a kill: `kubectl delete node,namespace NAME`, of the name that is printed first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controller_api import Api, ApiError, Document
from controller_classifiers import TextClassifierLoad
from controller_goals import Figure, of_idleness, of_work
from controller_node import StubNode
from controller_process import CallCounter, ControllerProcess, Reading

MAX_DELETION_SECONDS = 300.0  # of the namespace


def main() -> None:
    """Measure, print the figures, exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifiers", type=int, default=200)
    parser.add_argument("--changes", type=int, default=50, help="classifiers whose spec is changed")
    parser.add_argument("--every", type=float, default=0, help="seconds between two that are made or changed; 0: all at once")
    parser.add_argument("--idle-seconds", type=float, default=120)
    parser.add_argument("--log", type=Path, help="where to leave what the controller has logged")
    arguments = parser.parse_args()
    figures = asyncio.run(until_told_to_stop(measure(arguments)))
    sys.exit(0 if all(each.is_met for each in figures) else 1)


async def until_told_to_stop(work: Coroutine[Any, Any, list[Figure]]) -> list[Figure]:
    """Run the benchmark; Ctrl-C and SIGTERM cancel it, and it cleans up."""
    task = asyncio.create_task(work)
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        sys.exit(130)


async def measure(arguments: argparse.Namespace) -> list[Figure]:
    """Run the phases one after the other, and return their figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with Api.opened() as api, placed(api, folder) as node:
            calls = CallCounter(api, node.namespace)
            await calls.install(node.owner)
            controller = ControllerProcess(api, node.namespace, folder, calls)
            await controller.admit()
            try:
                async with TextClassifierLoad.watched(
                    api, node.namespace, arguments.classifiers, every=arguments.every
                ) as classifiers:
                    return await phases(controller, classifiers, arguments)
            finally:
                await controller.stop()
                if arguments.log:
                    shutil.copy(folder / "controller.log", arguments.log)


@asynccontextmanager
async def placed(api: Api, folder: Path) -> AsyncIterator[StubNode]:
    """Yield a namespace with its node. The node lives until the namespace is gone, because it has to end the Pods."""
    name = f"lw-bench-{uuid.uuid4().hex[:6]}"
    print(f"namespace and node {name}", flush=True)
    namespace = await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        async with StubNode.running(api, namespace, folder) as node:
            try:
                yield node
            finally:
                await delete(api, namespace)
    except BaseException:
        await delete(api, namespace)
        raise


async def delete(api: Api, namespace: Document) -> None:
    """Delete the namespace, and wait until it is gone."""
    path, end = f"/api/v1/namespaces/{namespace['metadata']['name']}", time.monotonic() + MAX_DELETION_SECONDS
    while time.monotonic() < end:
        try:
            await api.call("DELETE", path)
        except ApiError as error:
            if error.status == 404:
                return
            if error.status != 409:  # it is being deleted
                raise
        await asyncio.sleep(2)


async def phases(controller: ControllerProcess, classifiers: TextClassifierLoad, arguments: argparse.Namespace) -> list[Figure]:
    """Create the classifiers, leave them idle, change some, restart the controller."""
    number, changes = arguments.classifiers, arguments.changes
    await controller.start()
    await controller.until_quiet()
    started, before = time.monotonic(), await controller.read()
    ready = await classifiers.make()
    await controller.until_quiet()
    made = await controller.read()
    figures = printed(f"{number} classifiers are made", of_work(before, made, seconds=ready - started, objects=number))

    before = await controller.read()
    await asyncio.sleep(arguments.idle_seconds)
    figures += printed(f"{number} classifiers are left alone", of_idleness(before, await controller.read()))

    started, before = time.monotonic(), await controller.read()
    ready = await classifiers.change(changes, seed=1)
    await controller.until_quiet()
    changed = await controller.read()
    figures += printed(f"{changes} classifiers are changed", of_work(before, changed, seconds=ready - started, objects=changes))

    await controller.stop()
    started = time.monotonic()
    await controller.start()
    quiet = await controller.until_quiet()
    restarted = of_work(Reading.of_none(changed.calls), await controller.read(), seconds=quiet - started, objects=number)
    return figures + printed(f"The controller starts again with {number} classifiers", restarted)


def printed(phase: str, figures: Iterable[Figure]) -> list[Figure]:
    """Print the figures of a phase, and return them."""
    print(f"\n{phase} (load of the machine {os.getloadavg()[0]:.1f})")
    measured = list(figures)
    print(*measured, sep="\n", flush=True)
    return measured


if __name__ == "__main__":
    main()
