"""Docker for tests: an engine, compose and images, also where none can be installed or pulled."""

from tests.testbed.docker.client import DockerError, Engine
from tests.testbed.docker.engine import docker_engine
from tests.testbed.docker.images import BASE, POSTGRES, RABBITMQ, ensure_image

__all__ = ["BASE", "POSTGRES", "RABBITMQ", "DockerError", "Engine", "docker_engine", "ensure_image"]
