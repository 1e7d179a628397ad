"""Docker for tests, also on machines without a Docker engine or an image registry.

engine: find or start a Docker engine.
client: the docker command for one engine, and its errors.
private: a dockerd without systemd, shared by all test runs of a machine.
keeper: the process that runs that dockerd while it has users.
locks: file locks between test runs.
debian: Debian packages, and a base image from this machine's mirror.
images: pull images, or build stand-ins from Debian packages.
plugins: compose and buildx for docker commands that lack them.
build: build this project's Dockerfile.
compose: run this project's compose.yaml.
"""

from tests.testbed.docker.client import DockerError, Engine
from tests.testbed.docker.engine import docker_engine
from tests.testbed.docker.images import BASE, POSTGRES, RABBITMQ, ensure_image

__all__ = ["BASE", "POSTGRES", "RABBITMQ", "DockerError", "Engine", "docker_engine", "ensure_image"]
