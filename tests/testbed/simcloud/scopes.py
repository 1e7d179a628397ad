"""OAuth scopes: which of them a login covers, and which entitlements they show.

``entitlements`` and ``eduperson_entitlement`` show all that the person holds; with a colon and a
value after it, the one.
"""

from tests.testbed.simcloud.credentials import ENTITLEMENT

CLAIMS = ("entitlements", "eduperson_entitlement")


def entitlement_claims(scope: str) -> dict[str, list[str]]:
    """Return the claims about entitlements that a token with ``scope`` bears."""
    words = scope.split()
    return {
        claim: [ENTITLEMENT] for claim in CLAIMS if not {claim, _narrow(claim)}.isdisjoint(words)
    }


def beyond(scope: str, granted: str) -> set[str]:
    """Return the words of ``scope`` that a login for ``granted`` does not cover."""
    covered = set(granted.split())
    covered |= {_narrow(claim) for claim in CLAIMS if claim in covered}
    return set(scope.split()) - covered


def _narrow(claim: str) -> str:
    return f"{claim}:{ENTITLEMENT}"
