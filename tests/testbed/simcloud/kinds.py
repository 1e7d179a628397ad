"""The kinds of calls that are counted and that faults can affect."""

LISTS = frozenset({"list", "list_detail", "list_page"})
"""First pages, brief or detailed; ``list_page`` is any page after the first."""

ACTIONS = frozenset(
    {"start", "stop", "reboot", "shelve", "unshelve"}
    | {"pause", "unpause", "suspend", "resume", "unrescue", "confirm_resize"}
)

WORKS = ACTIONS | {"create", "delete", "create_image"}
"""Calls that begin work on a server, which goes on after the answer."""

_OTHERS = frozenset(
    {"get", "metadata", "tags", "flavors", "action_other", "compute_version"}
    | {"key_pairs", "zones", "server_groups"}
)

COMPUTE = LISTS | WORKS | _OTHERS

TOKENS = frozenset({"token_password", "token_application_credential", "rescope"})

IDENTITY = TOKENS | {"federation", "projects", "token_check", "token_revoke", "identity_version"}

OIDC = frozenset(
    {"refresh", "client_credentials", "device_authorization", "device_token"}
    | {"userinfo", "introspect", "revocation", "oidc_discovery"}
)

IMAGE = frozenset({"images", "image", "delete_image", "image_version"})

NETWORK = frozenset({"networks", "security_groups", "network_version"})

GROUPS = {
    "any": COMPUTE | IDENTITY | OIDC | IMAGE | NETWORK,
    "compute": COMPUTE,
    "identity": IDENTITY,
    "oidc": OIDC,
    "lists": LISTS,
    "actions": ACTIONS,
    "token": TOKENS,
}

KINDS: dict[str, frozenset[str]] = {kind: frozenset({kind}) for kind in GROUPS["any"]} | GROUPS
"""Every name a fault may give as its kind, with the kinds of calls it stands for."""
