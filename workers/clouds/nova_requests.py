"""The HTTP requests behind the actions: what is sent to Nova, as data. Pure."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any

from workers.clouds import actions
from workers.clouds.errors import BadTemplateError
from workers.clouds.servers import CLUSTER_KEY, NODE_KEY, REQUEST_KEY
from workers.config.groups import NETWORK_WORDS, ServerTemplate

# "auto" and "none" as networks came with 2.37.
CREATE_MICROVERSION = "2.37"
# What Nova takes as user data, in base64.
_MOST_USER_DATA = 65_535
_FILLED_IN = re.compile(rb"\$\{?(?:node|cluster|group)\b")


@dataclass(frozen=True, slots=True)
class Call:
    """One action that is to be made on a node's server; `server_id` is empty for `create`.

    Attributes:
        image: for `create` the id of an image in place of the template's, for `createImage` the
            name of the one to make.
        request_id: on whose behalf; an image is tagged with it, so that it is found again.
    """

    action: str
    server_id: str
    node: str
    group: str
    image: str | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class NovaRequest:
    """One HTTP request; `microversion` where the answer depends on it."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    microversion: str | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A template's names, resolved to ids."""

    image: str
    flavor: str
    networks: tuple[str, ...] = field(default_factory=tuple)


def act(call: Call, cluster: str) -> NovaRequest:
    """The request of every action but `create`."""
    path = f"/servers/{call.server_id}"
    if call.action == actions.DELETE:
        return NovaRequest("DELETE", path)
    if call.action == actions.TAG:
        tags = {CLUSTER_KEY: cluster, NODE_KEY: call.node}
        return NovaRequest("POST", f"{path}/metadata", {"metadata": tags})
    if call.action == actions.BAKE:
        tags = {CLUSTER_KEY: cluster, NODE_KEY: call.node, REQUEST_KEY: call.request_id}
        about = {"name": call.image, "metadata": tags}
        return NovaRequest("POST", f"{path}/action", {call.action: about})
    argument = {"type": "HARD"} if call.action == actions.REBOOT else None
    return NovaRequest("POST", f"{path}/action", {call.action: argument})


def create(
    call: Call, cluster: str, template: ServerTemplate, parts: Parts, user_data: bytes | None
) -> NovaRequest:
    """The request that makes a node's server, tagged as ours from its first moment.

    `parts` are the template's names as ids, and `user_data` the content of its file.

    Raises:
        BadTemplateError: the user data cannot be filled in.
    """
    server: dict[str, Any] = {
        "name": call.node,
        "flavorRef": parts.flavor,
        "metadata": {**template.metadata, CLUSTER_KEY: cluster, NODE_KEY: call.node},
        "networks": _networks(parts.networks),
    }
    if template.volume_size is None:
        server["imageRef"] = parts.image
    else:
        server["block_device_mapping_v2"] = [
            {
                "boot_index": 0,
                "source_type": "image",
                "destination_type": "volume",
                "uuid": parts.image,
                "volume_size": template.volume_size,
                "delete_on_termination": True,
            }
        ]
    optional = {
        "key_name": template.key_name,
        "availability_zone": template.availability_zone,
        "config_drive": template.config_drive or None,
    }
    server |= {name: value for name, value in optional.items() if value is not None}
    if template.security_groups:
        server["security_groups"] = [{"name": name} for name in template.security_groups]
    if user_data is not None:
        server["user_data"] = filled_in(user_data, call, cluster)
    body: dict[str, Any] = {"server": server}
    if template.server_group is not None:
        body["os:scheduler_hints"] = {"group": template.server_group}
    return NovaRequest("POST", "/servers", body, CREATE_MICROVERSION)


def filled_in(user_data: bytes, call: Call, cluster: str) -> str:
    """As `fill`, in base64, as Nova takes it; BadTemplateError also if it is too long for Nova."""
    text = base64.b64encode(fill(user_data, call, cluster)).decode()
    if len(text) > _MOST_USER_DATA:
        most = _MOST_USER_DATA // 4 * 3
        raise BadTemplateError(
            f"groups.{call.group}.server.user_data_file: is longer than {most} bytes, the most that Nova takes;"
            " let cloud-init fetch the rest (#include), or compress it (gzip)"
        )
    return text


def fill(user_data: bytes, call: Call, cluster: str) -> bytes:
    """The template with the node's own names, which hold nothing that a shell or YAML minds.

    What is not text, such as a gzip archive, stays as it is.

    Raises:
        BadTemplateError: it asks for something else, has a lone dollar (write two), or is text in
            another encoding than UTF-8.
    """
    place = f"groups.{call.group}.server.user_data_file"
    try:
        template = Template(user_data.decode())
    except UnicodeDecodeError:
        if _FILLED_IN.search(user_data):
            raise BadTemplateError(f"{place}: is not UTF-8 text; save it as UTF-8") from None
        return user_data
    try:
        filled = template.substitute(node=call.node, cluster=cluster, group=call.group)
    except (KeyError, ValueError) as error:
        raise BadTemplateError(
            f"{place}: {error}: only $node, $cluster and $group are filled in;"
            " write $$ for a dollar"
        ) from None
    return filled.encode()


def _networks(networks: tuple[str, ...]) -> str | list[dict[str, str]]:
    if len(networks) == 1 and networks[0] in NETWORK_WORDS:
        return networks[0]
    return [{"uuid": network} for network in networks]
