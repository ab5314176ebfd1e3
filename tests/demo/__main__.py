"""`./dev demo`: starts it all, applies the README's resource, and shows it become ready.

It runs until Ctrl-C. With `--once` it ends by itself: 0 only if the resource became Ready, a PUT
through each sidecar answered 201, and a pool edit and a Secret's rotation reached each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from tests.demo.stage import NAMESPACE, SECRET, STORE, Stage, raised, resource, secret
from tests.real.kubernetes_parts import building
from tests.real.pods import READY_SECONDS, SidecarPod
from tests.real.processes import die_with_parent, wait_until
from tests.real.storebackends import condition

REFRESH_SECONDS: Final = 20 * 60.0
"""Tokens hold for an hour; a kubelet renews them after four fifths of that."""


def main() -> int:
    """Raise the stage, show it, and take everything away again."""
    parser = argparse.ArgumentParser(
        prog="./dev demo",
        description="A cluster's worth of Pannier on this machine: control plane, Redis, operator, "
        "three sidecars. Runs until Ctrl-C.",
    )
    parser.add_argument(
        "--once", action="store_true", help="end by itself; exit code 0 only if all of it worked"
    )
    options = parser.parse_args()
    # Whoever ends it, what it started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="pannier-demo-"))
    try:
        with raised(home, say) as stage:
            show(stage)
            if options.once:
                exercise(stage)
            else:
                stay(stage)
    except KeyboardInterrupt:
        say("ending all of it")
        return 130 if options.once else 0
    except (AssertionError, building.NotHere) as failed:
        say(f"it did not work: {failed}")
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.once:
        say("all of it worked, and all of it is ended")
    return 0


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def show(stage: Stage) -> None:
    """Apply the README's resource, and print it as kubectl watches it become ready."""
    plane = stage.plane
    plane.apply(secret(stage.password), resource(stage.redis.port), namespace=NAMESPACE)
    say(f"kubectl get storebackends -n {NAMESPACE} -w")
    watch = subprocess.Popen(
        [building.program("kubectl"), "get", "storebackends", "-n", NAMESPACE, "-w"],
        stdin=subprocess.DEVNULL, env=plane.environment(), preexec_fn=die_with_parent,
        process_group=0,  # Ctrl-C is for this process, which then ends it
    )  # fmt: skip
    try:
        wait_until(lambda: runs_everywhere(stage), READY_SECONDS, "the resource is Ready in all")
        time.sleep(0.5)  # The watch prints the last line a moment after we see it.
    finally:
        watch.kill()
        watch.wait()
    for pod in stage.pods:
        status, _ = pod.call("PUT", f"/v1/{STORE}/Cart/{pod.name}", b'{"total": 3}')
        say(f"PUT through {pod.name} answered {status}")
        assert status == 201, f"a PUT through {pod.name} answered {status}"


def runs_everywhere(stage: Stage) -> bool:
    """Whether the newest generation is Ready, and every sidecar is counted in it."""
    found = stage.plane.get("storebackend", STORE, "-n", NAMESPACE)
    ready = condition(found, "Ready")
    every = f"{len(stage.pods)}/{len(stage.pods)}"
    return bool(
        ready.get("status") == "True"
        and ready.get("observedGeneration") == found["metadata"]["generation"]
        and found["status"].get("synced") == every
    )


def exercise(stage: Stage) -> None:
    """Edit the pool, rotate the Secret: both reach every sidecar, and no request fails."""
    with Meanwhile(stage) as failed:
        stage.change_pool(12)
        for pod in stage.pods:
            wait_until(
                lambda pod=pod: pool_of(pod).get("max") == 12,  # type: ignore[misc]
                READY_SECONDS, f"the edited pool is in force in {pod.name}",
            )  # fmt: skip
        say("the edited pool is in force in every sidecar")

        before = {pod.name: pod.status()["config"]["version"] for pod in stage.pods}
        fresh = stage.allow_another_password()
        stage.rotate_secret(fresh)
        for pod in stage.pods:
            wait_until(
                lambda pod=pod: pod.status()["config"]["version"] != before[pod.name],  # type: ignore[misc]
                READY_SECONDS, f"{pod.name} has the rotated Secret",
            )  # fmt: skip
        wait_until(lambda: runs_everywhere(stage), READY_SECONDS, "all serve with the new password")
    assert not failed, f"{len(failed)} requests failed meanwhile, the first: {failed[0]}"
    stage.forget_old_password(fresh)
    for pod in stage.pods:
        status, _ = pod.call("PUT", f"/v1/{STORE}/Cart/rotated-{pod.name}", b'{"total": 4}')
        assert status == 201, f"a PUT through {pod.name} after the rotation answered {status}"
    say(f"the rotated Secret {SECRET} reached every sidecar; the old password is gone")


class Meanwhile:
    """Read a record through every sidecar until the block ends; gives what failed."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ended = threading.Event()
        self._failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(pod,), name=pod.name) for pod in stage.pods
        ]

    def __enter__(self) -> list[str]:
        for thread in self._threads:
            thread.start()
        return self._failed

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, pod: SidecarPod) -> None:
        while not self._ended.wait(0.02):
            try:
                status, body = pod.call("GET", f"/v1/{STORE}/Cart/{pod.name}")
            except OSError as error:
                self._failed.append(f"{pod.name}: {error}")
                continue
            if status != 200:
                self._failed.append(f"{pod.name}: {status} {body.decode()}")


def pool_of(pod: SidecarPod) -> dict[str, Any]:
    """The pool's figures as the sidecar's status has them."""
    store = pod.store(STORE)
    return dict(store["pool"]) if store else {}


def stay(stage: Stage) -> None:
    """Say how to play with it, and keep the tokens fresh until Ctrl-C."""
    first = stage.pods[0].running
    assert first is not None
    kubectl = building.program("kubectl")
    print(f"""
  export KUBECONFIG={stage.plane.kubeconfig}
  {kubectl} get storebackends -n {NAMESPACE} -o wide -w
  {kubectl} edit storebackend {STORE} -n {NAMESPACE}      # break it, mend it, resize its pool

  curl {first.url}/v1/{STORE}/Cart                 # records, through {stage.pods[0].name}
  {first.admin_url}/                         # its status page in a browser
""")
    for pod in stage.pods:
        assert pod.running is not None
        print(f"  {pod.name}: records {pod.running.url}, status {pod.running.admin_url}/")
    print(f"  operator: metrics http://127.0.0.1:{stage.operator.admin_port}/metrics, "
          f"log {stage.operator.log}\n  Redis: port {stage.redis.port}\n")  # fmt: skip
    say("running; Ctrl-C ends all of it")
    while True:
        time.sleep(REFRESH_SECONDS)
        stage.refresh_tokens()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code) if threading.active_count() > 1 else sys.exit(code)
