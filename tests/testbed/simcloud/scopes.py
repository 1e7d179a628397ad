"""OAuth scopes: which of them a login covers, and which entitlements they reveal.

``entitlements`` and ``eduperson_entitlement`` reveal all entitlements of the user; followed by a
colon and a value, only that one.
"""

from tests.testbed.simcloud.credentials import ENTITLEMENT

CLAIMS = ("entitlements", "eduperson_entitlement")


def entitlement_claims(scope: str) -> dict[str, list[str]]:
    """Return the entitlement claims of a token with ``scope``."""
    words = scope.split()
    return {
        claim: [ENTITLEMENT] for claim in CLAIMS if not {claim, _narrow(claim)}.isdisjoint(words)
    }


def beyond(scope: str, granted: str) -> set[str]:
    """Return the parts of ``scope`` that a login with the scope ``granted`` does not cover."""
    covered = set(granted.split())
    covered |= {_narrow(claim) for claim in CLAIMS if claim in covered}
    return set(scope.split()) - covered


def _narrow(claim: str) -> str:
    return f"{claim}:{ENTITLEMENT}"
