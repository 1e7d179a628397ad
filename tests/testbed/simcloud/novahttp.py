"""The conventions of Nova's API: microversions, query strings, headers and error bodies."""

import re
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tests.testbed.simcloud.compute import Query
from tests.testbed.simcloud.errors import ApiError, BadRequestError, ForbiddenError
from tests.testbed.simcloud.gate import Call
from tests.testbed.simcloud.model import VM_STATES_BY_STATUS, VmState
from tests.testbed.simcloud.web import base_url, request_id

MAX_MINOR = 96
_FAULT_NAMES = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    409: "conflictingRequest",
    413: "overLimit",
    429: "overLimit",
    503: "serviceUnavailable",
}


def minor_version(request: Request) -> int:
    """Return the requested minor microversion; by default 1.

    Raises:
        ApiError: 400 if it is malformed, 406 if it is not supported.
    """
    wanted = ""
    for part in request.headers.get("openstack-api-version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service == "compute":
            wanted = version.strip()
    wanted = wanted or request.headers.get("x-openstack-nova-api-version", "")
    if not wanted:
        return 1
    if wanted == "latest":
        return MAX_MINOR
    match = re.fullmatch(r"(\d+)\.(\d+)", wanted)
    if match is None:
        raise BadRequestError(
            f"API Version String {wanted} is of invalid format. Must be of format MajorNum.MinorNum."
        )
    major, minor = int(match[1]), int(match[2])
    if major != 2 or not 1 <= minor <= MAX_MINOR:
        raise ApiError(
            406,
            f"Version {wanted} is not supported by the API. Minimum is 2.1 and maximum is"
            f" 2.{MAX_MINOR}.",
        )
    return minor


def query_of(request: Request, page_limit: int) -> Query | None:
    """Return the listing's filters; ``None`` if nothing can match (an unknown status in old versions).

    Raises:
        BadRequestError: a filter is malformed.
        ForbiddenError: the filter is for deleted servers.
    """
    given = request.query_params
    vm_states: set[VmState] | None = None
    if statuses := given.getlist("status"):
        known = [VM_STATES_BY_STATUS.get(status.upper()) for status in statuses]
        vm_states = {state for state in known if state is not None}
        if not vm_states:
            if minor_version(request) >= 38:
                raise BadRequestError("Invalid status value")
            return None
        if vm_states == {VmState.DELETED}:
            raise ForbiddenError("Only administrators may list deleted instances")
    try:
        name = re.compile(given["name"]) if "name" in given else None
    except re.error:
        raise BadRequestError(
            f"Invalid input for query parameters name. Value: {given['name']}."
            f" '{given['name']}' is not a 'regex'"
        ) from None
    tags = frozenset(filter(None, given.get("tags", "").split(",")))
    return Query(
        limit=_limit(given.get("limit"), page_limit),
        marker=given.get("marker"),
        name=name,
        vm_states=None if vm_states is None else frozenset(vm_states),
        changes_since=_changes_since(given.get("changes-since")),
        tags=tags,
    )


def _limit(given: str | None, page_limit: int) -> int:
    if given is None:
        return page_limit
    if not given.isdecimal():
        raise BadRequestError(
            f"Invalid input for query parameters limit. Value: {given}."
            f" '{given}' does not match '^[0-9]*$'"
        )
    return min(int(given), page_limit)


def _changes_since(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise BadRequestError(
            f"Invalid input for query parameters changes-since. Value: {given}."
            f" '{given}' is not a 'date-time'"
        ) from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def nova_response(call: Call, body: bytes, status: int = 200) -> Response:
    """Return an answer with the headers of all of Nova's answers."""
    version = f"2.{minor_version(call.request)}"
    return Response(
        body,
        status,
        {
            "OpenStack-API-Version": f"compute {version}",
            "X-OpenStack-Nova-API-Version": version,
            "Vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
            **_request_ids(),
        },
        media_type="application/json",
    )


def nova_error(error: ApiError) -> Response:
    """Return ``error`` in Nova's format; for 401, in that of Keystone's middleware in front of Nova."""
    headers = _request_ids()
    if error.retry_after is not None:
        headers["Retry-After"] = error.retry_after
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Keystone uri="/identity"'
        content = {"error": {"code": 401, "title": "Unauthorized", "message": error.message}}
        return Response(msgspec.json.encode(content), 401, headers, media_type="application/json")
    fault: dict[str, object] = {"code": error.status, "message": error.message}
    if error.retry_after is not None and error.status in {413, 429}:
        fault["retryAfter"] = error.retry_after
    body = msgspec.json.encode({_FAULT_NAMES.get(error.status, "computeFault"): fault})
    return Response(body, error.status, headers, media_type="application/json")


def version_document(request: Request) -> dict[str, object]:
    """Return the version document for discovery."""
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"2.{MAX_MINOR}",
        "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base_url(request)}/compute/v2.1/"}],
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.compute+json;version=2.1",
            }
        ],
    }


def _request_ids() -> dict[str, str]:
    name = request_id()
    return {"x-openstack-request-id": name, "x-compute-request-id": name}
