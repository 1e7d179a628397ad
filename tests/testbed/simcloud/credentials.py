"""The invented users, projects and secrets of every simulation."""

REGION = "RegionOne"
DOMAIN_ID = "default"
DOMAIN_NAME = "Default"

PROJECT_ID = "6c1d4a0e5f6b4b8e9c0a7d2f3e4b5a61"
PROJECT_NAME = "nodes"
OTHER_PROJECT_ID = "0f9e8d7c6b5a49388716253443526170"
OTHER_PROJECT_NAME = "others"
PROJECTS = {PROJECT_ID: PROJECT_NAME, OTHER_PROJECT_ID: OTHER_PROJECT_NAME}

USER_ID = "a3c5e7f90b1d4f6e8a7c9e0b2d4f6a8c"
USERNAME = "keeper"
# A search for pieces of them must not find words.
PASSWORD = "k9Wz3vQx7LrT2mYp8FhJ"

# Another user, with the same password, who may only look.
READER_ID = "5f0c8b7e2d9a4c1f8e6b3a7d0c5f9e21"
READER = "onlooker"
USERS = {USERNAME: USER_ID, READER: READER_ID}

APPLICATION_CREDENTIAL_ID = "21dced0fd20347869b93710d2b98aae0"
APPLICATION_CREDENTIAL_NAME = "keeper-nodes"
APPLICATION_CREDENTIAL_SECRET = "aB6sDn4uXcV1gKe0ZtRy5QwM"

IDENTITY_PROVIDER = "egi.eu"
FEDERATION_PROTOCOL = "openid"
SUBJECT = "d5a1c0de@egi.eu"
ENTITLEMENT = "urn:mace:egi.eu:group:vo.example.org:role=vm_operator#aai.egi.eu"

PUBLIC_CLIENT = "token-portal"
CONFIDENTIAL_CLIENT = "node-manager"
CONFIDENTIAL_CLIENT_SECRET = "nU7iHo2pLkJ8fGd5SaZ3xCvB"
"""A service account: its client_credentials tokens map to the same project as the person's."""
REFRESH_TOKEN = "first-refresh-token-of-the-token-portal"
"""The first refresh token of the public client, for the person of ``SUBJECT``."""
SCOPE = "openid email profile voperson_id entitlements eduperson_entitlement offline_access"
"""What the person granted to the public client."""
