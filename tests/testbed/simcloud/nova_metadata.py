"""Servers' metadata and tags."""

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from tests.testbed.simcloud.errors import BadRequestError, NotFoundError
from tests.testbed.simcloud.gate import Call
from tests.testbed.simcloud.model import Server
from tests.testbed.simcloud.nova import SERVER, NovaService, decode
from tests.testbed.simcloud.novahttp import nova_response


class _MetadataBody(msgspec.Struct):
    metadata: dict[str, str]


class _MetaBody(msgspec.Struct):
    meta: dict[str, str]


class _TagsBody(msgspec.Struct):
    tags: list[str]


class MetadataApi(NovaService):
    """``/compute/v2.1/servers/{id}/metadata`` and ``.../tags``."""

    def routes(self) -> list[Route]:
        metadata, tags = f"{SERVER}/metadata", f"{SERVER}/tags"
        return [
            self.route("GET", metadata, "metadata", self._metadata),
            self.route("POST", metadata, "metadata", self._merge_metadata),
            self.route("PUT", metadata, "metadata", self._replace_metadata),
            self.route("PUT", f"{metadata}/{{key}}", "metadata", self._put_meta),
            self.route("DELETE", f"{metadata}/{{key}}", "metadata", self._delete_meta),
            self.route("GET", tags, "tags", self._tags),
            self.route("PUT", tags, "tags", self._replace_tags),
            self.route("PUT", f"{tags}/{{tag}}", "tags", self._put_tag),
            self.route("DELETE", f"{tags}/{{tag}}", "tags", self._delete_tag),
        ]

    def _metadata(self, call: Call) -> Response:
        return _metadata_response(call, self.server(call))

    def _merge_metadata(self, call: Call) -> Response:
        server = self.server(call)
        added = decode(call.body, _MetadataBody).metadata
        if not self.compute.dials.now.ignore_metadata:
            server.metadata = server.metadata | added
        self.compute.describe(server)
        return _metadata_response(call, server)

    def _replace_metadata(self, call: Call) -> Response:
        server = self.server(call)
        server.metadata = decode(call.body, _MetadataBody).metadata
        self.compute.describe(server)
        return _metadata_response(call, server)

    def _put_meta(self, call: Call) -> Response:
        server = self.server(call)
        meta = decode(call.body, _MetaBody).meta
        if list(meta) != [call.request.path_params["key"]]:
            raise BadRequestError("Request body and URI mismatch")
        server.metadata = server.metadata | meta
        self.compute.describe(server)
        return nova_response(call, msgspec.json.encode({"meta": meta}))

    def _delete_meta(self, call: Call) -> Response:
        server = self.server(call)
        key = call.request.path_params["key"]
        if key not in server.metadata:
            raise NotFoundError("Metadata item was not found")
        server.metadata = {k: v for k, v in server.metadata.items() if k != key}
        self.compute.describe(server)
        return nova_response(call, b"", 204)

    def _tags(self, call: Call) -> Response:
        return _tags_response(call, self.server(call))

    def _replace_tags(self, call: Call) -> Response:
        server = self.server(call)
        server.tags = sorted(set(decode(call.body, _TagsBody).tags))
        self.compute.describe(server)
        return _tags_response(call, server)

    def _put_tag(self, call: Call) -> Response:
        server = self.server(call)
        tag = call.request.path_params["tag"]
        if tag in server.tags:
            return nova_response(call, b"", 204)
        server.tags = [*server.tags, tag]
        self.compute.describe(server)
        return nova_response(call, b"", 201)

    def _delete_tag(self, call: Call) -> Response:
        server = self.server(call)
        tag = call.request.path_params["tag"]
        if tag not in server.tags:
            raise NotFoundError(f"Instance {server.id} has no tag '{tag}'")
        server.tags = [t for t in server.tags if t != tag]
        self.compute.describe(server)
        return nova_response(call, b"", 204)


def _metadata_response(call: Call, server: Server) -> Response:
    return nova_response(call, msgspec.json.encode({"metadata": server.metadata}))


def _tags_response(call: Call, server: Server) -> Response:
    return nova_response(call, msgspec.json.encode({"tags": server.tags}))
