"""The images of the compose file: named there, each replaceable by its variable, pulled where they are missing.

Our own image is built from the sources that are running right now, checkout or installed package alike: the two packages
and the compose folder are copied into a build context, and their hash is the image's tag. So a changed source is never run
in an old image, and an unchanged one is never built twice.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import faults
import resilience
from resilience.lab.compose.engine import Engine
from resilience.lab.settings import SettingsError
from resilience.lab.system import StackError

log = logging.getLogger("chaos_spike.lab")

OWN_VARIABLE = "CHAOS_SPIKE_IMAGE_LAB"
PROXY_VARIABLE = "CHAOS_SPIKE_TOXIPROXY"
OWN_PROXY_FILE = "own-proxy.yml"
_TOXIPROXY_VARIABLE = "CHAOS_SPIKE_IMAGE_TOXIPROXY"
NETWORK_VARIABLE = "CHAOS_SPIKE_BUILD_NETWORK"
_OWN_REPOSITORY = "chaos-spike-lab"
_PYTHON_VARIABLE = "CHAOS_SPIKE_IMAGE_PYTHON"
_REFERENCE = re.compile(r"image: \"\$\{(CHAOS_SPIKE_IMAGE_[A-Z]+):-([^}]+)\}\"")
_BASE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)
# What a build on somebody's network may need to be told.
_PASSED_ON = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_OLD_S = 24 * 3600.0
_NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.pyc")


def own_proxy(environ: Mapping[str, str]) -> bool:
    """Whether our own proxy stands before the dependencies instead of Shopify's; SettingsError for a word that is neither."""
    chosen = environ.get(PROXY_VARIABLE) or "shopify"
    if chosen not in {"shopify", "own"}:
        raise SettingsError(f"{PROXY_VARIABLE}={chosen!r}: shopify or own")
    return chosen == "own"


def compose_folder() -> Path:
    """The folder with docker-compose.yml: beside the packages in a checkout, inside `resilience` when installed."""
    package = Path(resilience.__file__).parent
    for folder in (package / "compose", package.parent / "compose"):
        if (folder / "docker-compose.yml").is_file():
            return folder
    raise StackError("compose/docker-compose.yml is not part of this installation: install chaos-spike again")


def named_images(compose_file: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The images that the compose file asks for besides ours: by variable, as the environment has them."""
    defaults = dict(_REFERENCE.findall(compose_file))
    return {
        variable: environ.get(variable) or default
        for variable, default in defaults.items()
        if variable != OWN_VARIABLE
    }


def provide_images(engine: Engine, folder: Path, environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Make sure that every image is here; the variables that name them. StackError if one cannot be had.

    `scratch` is an empty directory of the caller's, for the build context.
    """
    images = named_images((folder / "docker-compose.yml").read_text(), environ)
    own = environ.get(OWN_VARIABLE)
    if own:
        images[OWN_VARIABLE] = own
    if own_proxy(environ):
        images.pop(_TOXIPROXY_VARIABLE, None)
    for variable, image in images.items():
        if engine.image_id(image) is None:
            # Somebody waits for it: said at the level that is shown.
            log.warning("getting the image %s", image)
            engine.pull(image, variable)
    if not own:
        images[OWN_VARIABLE] = _build_own(engine, folder, environ, scratch)
    return images


def provide_own_image(engine: Engine, environ: Mapping[str, str], scratch: Path) -> str:
    """The image of our own services alone, likewise: it has tap and proxy, too. StackError if it cannot be had."""
    own = environ.get(OWN_VARIABLE)
    if not own:
        return _build_own(engine, compose_folder(), environ, scratch)
    if engine.image_id(own) is None:
        engine.pull(own, OWN_VARIABLE)
    return own


def _build_own(engine: Engine, folder: Path, environ: Mapping[str, str], context: Path) -> str:
    found = _BASE.search((folder / "Dockerfile").read_text())
    assert found is not None  # our own file has it
    base = environ.get(_PYTHON_VARIABLE) or found[1]
    stage_context(context, folder)
    tag = f"{_OWN_REPOSITORY}:{context_hash(context, base)}"
    if engine.image_id(tag) is None:
        if engine.image_id(base) is None:
            engine.pull(base, _PYTHON_VARIABLE)
        log.warning("building the image of the lab's own services, once for this source")
        arguments = {key: environ[key] for key in _PASSED_ON if environ.get(key)}
        network = environ.get(NETWORK_VARIABLE) or None
        engine.build(context, tag, {**arguments, "PYTHON_IMAGE": base}, network)
        engine.forget_old_images(tag, _OLD_S)
    return tag


def stage_context(context: Path, folder: Path) -> None:
    """Copy what the Dockerfile wants into `context`: the two packages and the compose folder."""
    for package in (faults, resilience):
        assert package.__file__ is not None  # neither is a namespace package
        source = Path(package.__file__).parent
        shutil.copytree(source, context / source.name, ignore=_NOT_SOURCE)
    if not (context / "compose").exists():
        shutil.copytree(folder, context / "compose", ignore=_NOT_SOURCE)


def context_hash(context: Path, base: str) -> str:
    """Twelve hexadecimal digits over every path and byte of a build context, and the name of its base image."""
    digest = hashlib.sha256(base.encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"\0{path.relative_to(context)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]
