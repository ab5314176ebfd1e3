"""The two images, built from the Dockerfile and run as Kubernetes would run them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pannier_operator.injection.container import USER, SidecarTemplate, container
from tests.real.container_parts.making import ROOT
from tests.real.container_parts.podman import LOCKED_DOWN, Container, Pod, as_podman
from tests.real.containers import Images
from tests.real.redis import RedisServer

pytestmark = pytest.mark.timeout(1800)
"""The first time all of it is fetched and built; after that a test takes seconds."""

TARGETS = ("sidecar", "operator")
MOST_MEGABYTES = {"sidecar": 90, "operator": 280}
"""What a target may add to its base; measured: 67 and 229."""

LABEL = "org.opencontainers.image."

APPLICATION = Path(__file__).parent / "container_parts" / "application.py"

STORES = """\
apiVersion: pannier.dev/v1alpha1
kind: StoreBackend
metadata: {name: shop}
spec:
  type: redis
  redis: {unixSocket: /redis/redis.sock}
"""


STATUS_OF = """\
import http.client, sys
connection = http.client.HTTPConnection("localhost", 3901, timeout=30)
connection.request("GET", sys.argv[1])
print(connection.getresponse().status)
"""
"""A program that prints the status of a path of the admin port."""


class Shop:
    """A real Redis on the host, and the containers of a pod that reach it by its unix socket."""

    ARGUMENTS = ("sidecar", "--config", "/stores/stores.yaml")

    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self.redis = redis
        stores = directory / "stores"
        stores.mkdir()
        (stores / "stores.yaml").write_text(STORES)
        for folder in (stores, redis.directory):
            folder.chmod(0o755)
        self.mounts = ("--volume", f"{stores}:/stores:ro",
                       "--volume", f"{redis.directory}:/redis:ro")  # fmt: skip

    def sidecar(self, pod: Pod, image: str) -> Container:
        """A sidecar that serves the store `shop`, with all rights taken away; it is ready."""
        started = pod.start(image, *self.ARGUMENTS, options=[*LOCKED_DOWN, *self.mounts])
        started.printed("serves the store")
        return started

    def application(self, pod: Pod, image: str, part: str) -> Container:
        """The application, which does its part."""
        mount = ["--volume", f"{APPLICATION}:/application.py:ro"]
        return pod.start(image, "python3", "/application.py", part, options=mount)


@pytest.fixture
def shop(own_redis: Callable[..., RedisServer], tmp_path: Path) -> Shop:
    return Shop(own_redis("--unixsocketperm", "777"), tmp_path)


@pytest.fixture(scope="module")
def built(images: Images) -> dict[str, str]:
    """Target -> the id of its image."""
    return {target: images.build(target) for target in TARGETS}


def look(images: Images, image: str, command: str) -> list[str]:
    """Lines that a shell in the image prints, as root, so that nothing is hidden from it."""
    return images.podman(
        "run", "--rm", "--network", "none", "--read-only", "--user", "0", "--entrypoint", "sh",
        image, "-c", command,
    ).splitlines()  # fmt: skip


# What is in them ------------------------------------------------------------------------------


def test_a_build_from_nothing_gives_the_same_image_bit_for_bit(
    images: Images, built: dict[str, str]
) -> None:
    assert images.build_anew("sidecar") == built["sidecar"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_small(target: str, images: Images, built: dict[str, str]) -> None:
    base = images.size(images.base) / 1e6
    size = images.size(built[target]) / 1e6
    print(f"{target}: {size:.0f} MB, of which {base:.0f} MB are the base's")
    assert size - base < MOST_MEGABYTES[target]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_how_it_runs(
    target: str, images: Images, built: dict[str, str]
) -> None:
    image = images.podman.inspect("image", built[target])["Config"]
    assert image["User"] == f"{USER}:{USER}"
    assert (image["Entrypoint"], image["Cmd"]) == (["pannier"], [target])
    assert not image.get("Volumes")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    label = {name.removeprefix(LABEL): text for name, text in image["Labels"].items()}
    assert label["title"] == f"pannier-{target}" and label["description"]
    assert (label["version"], label["licenses"]) == (project["version"], project["license"])


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_in_an_image_builds_installs_or_raises_rights(
    target: str, images: Images, built: dict[str, str]
) -> None:
    assert look(images, built[target], "find / -xdev -type f -perm /6000") == []
    tools = "for name in cc gcc c++ ld make pip pip3 git; do command -v $name; done; true"
    assert look(images, built[target], tools) == []
    installers = "find /opt -name pip -o -name wheel -o -name setuptools -o -name hatchling"
    assert look(images, built[target], installers) == []
    left = "find ~/.cache /source /tools /tmp /var/tmp -mindepth 1 2>/dev/null; true"
    assert look(images, built[target], left) == []


@pytest.mark.parametrize("target", TARGETS)
def test_the_user_of_an_image_can_change_nothing_of_it(
    target: str, images: Images, built: dict[str, str]
) -> None:
    owned = f"find / -xdev -user {USER} -o -group {USER}"
    writable = "find /opt /etc /usr/bin /usr/lib -not -type l -perm /022"
    for command in (owned, writable):
        assert look(images, built[target], command) == []


@pytest.mark.parametrize("target", TARGETS)
def test_byte_code_is_all_there_and_never_compared_with_its_source(
    target: str, images: Images, built: dict[str, str]
) -> None:
    # A builder may set all file times; byte code that is checked by time would be made anew, and
    # thrown away, at every start.
    program = (
        "import pathlib, sys\n"
        "packages = pathlib.Path(sys.prefix, 'lib')\n"
        "compiled = list(packages.rglob('*.pyc'))\n"
        "print({int.from_bytes(path.read_bytes()[4:8], 'little') for path in compiled})\n"
        "print(len(compiled) / len(list(packages.rglob('*.py'))) > 0.99)\n"
    )
    told = look(images, built[target], f'/opt/pannier/bin/python3 -c "{program}"')
    assert told == ["{1}", "True"]


def test_a_sidecar_has_no_part_of_kubernetes(images: Images, built: dict[str, str]) -> None:
    program = (
        "import importlib.util as util\n"
        "print(*[name for name in ('kopf', 'kubernetes', 'cryptography') if util.find_spec(name)])"
    )
    command = f'/opt/pannier/bin/python3 -c "{program}"'
    assert look(images, built["sidecar"], command) == []
    assert look(images, built["operator"], command) == ["kopf kubernetes cryptography"]


# How they run ---------------------------------------------------------------------------------


def test_the_operator_runs_in_its_image_and_is_refused_in_the_other(
    pod: Pod, built: dict[str, str]
) -> None:
    helped = pod.run(built["operator"], "operator", "--help", options=LOCKED_DOWN)
    assert helped.returncode == 0 and "--watch-namespace" in helped.stdout
    # Its default is the operator itself, which finds no cluster here.
    alone = pod.run(built["operator"], options=LOCKED_DOWN)
    assert alone.returncode == 1 and "Traceback" not in alone.stderr, alone.stderr
    refused = pod.run(built["sidecar"], "operator", options=LOCKED_DOWN)
    assert refused.returncode == 1 and "pip install 'pannier[operator]'" in refused.stderr


def test_an_application_calls_the_sidecar_beside_it_and_ends_before_it(
    pod: Pod, images: Images, built: dict[str, str], shop: Shop
) -> None:
    sidecar = shop.sidecar(pod, built["sidecar"])
    application = shop.application(pod, images.base, "work")
    application.printed("got True")
    # As the kubelet does with a native sidecar: first the application, then the sidecar.
    application.signal("TERM")
    assert application.wait() == 0, application.log()
    assert application.log().split() == ["put", "201", "got", "True", "last", "201"]
    assert sidecar.state["Running"]
    sidecar.signal("TERM")
    assert sidecar.wait() == 0, sidecar.log()
    assert shop.redis.client().hkeys("pannier:Cart") == [b"42", b"last"]


def test_a_sidecar_that_is_told_to_end_first_finishes_what_it_took(
    pod: Pod, images: Images, built: dict[str, str], shop: Shop
) -> None:
    sidecar = shop.sidecar(pod, built["sidecar"])
    application = shop.application(pod, images.base, "dawdle")
    application.printed("half")
    sidecar.signal("TERM")
    assert sidecar.wait() == 0, sidecar.log()
    assert application.wait() == 0, application.log()
    assert "answer HTTP/1.1 201 Created" in application.log()
    assert shop.redis.client().hkeys("pannier:Cart") == [b"slow"]


def test_a_sidecar_writes_nothing_into_its_image(
    pod: Pod, images: Images, built: dict[str, str], shop: Shop
) -> None:
    # Where it could: without the read-only root, as root.
    writable = [option for option in LOCKED_DOWN if "read-only" not in option]
    options = [*writable, *shop.mounts, "--user", "0", "--cap-add", "dac_override"]
    sidecar = pod.start(built["sidecar"], *shop.ARGUMENTS, options=options)
    sidecar.printed("serves the store")
    application = shop.application(pod, images.base, "work")
    application.printed("got True")
    changed = images.podman("diff", sidecar.id).splitlines()
    mounted = ("/etc", "/run", "/redis", "/stores")  # where podman itself puts something
    assert [line for line in changed if not line.split()[1].startswith(mounted)] == []


def test_what_the_webhook_injects_runs_though_no_operator_answers(
    pod: Pod, images: Images, built: dict[str, str]
) -> None:
    injected = container(
        SidecarTemplate(image=built["sidecar"], operator_url="wss://127.0.0.1:8443")
    )
    options = [*as_podman(injected), "--tmpfs", "/run/pannier:mode=1777,size=16m"]
    sidecar = pod.start(built["sidecar"], *injected["args"], options=options)
    sidecar.printed("127.0.0.1:8443")
    told = {
        path: pod.run(images.base, "python3", "-c", STATUS_OF, path).stdout.strip()
        for path in (injected["startupProbe"]["httpGet"]["path"], "/healthz", "/readyz")
    }
    assert told == {"/readyz?startup": "503", "/healthz": "200", "/readyz": "503"}
    sidecar.signal("TERM")
    assert sidecar.wait() == 0, sidecar.log()
    assert "Traceback" not in sidecar.log()
