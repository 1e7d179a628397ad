"""The token service: the only part that knows the clouds' credentials, and its clients.

service: `lamplighter worker tokens`; answers requests for tokens over RabbitMQ; its metrics.
issuer: serves, fetches and renews the tokens of one cloud.
cache: what an issuer decides, as pure functions.
alarms: notices about credentials that need an operator.
source: what every source of tokens does.
sources: the source of each cloud; logins with credentials of Keystone.
keystone: logins at Keystone.
federated: logins at an OpenID Connect provider, then at Keystone.
oidc: requests to the provider's token endpoint.
discovery: the provider's other endpoints.
device: the login of a person by device code.
transport: HTTP to providers and Keystone.
scoped: a scoped token, with its catalog.
secret: secrets in files and from commands.
revocations: the secrets that operators have revoked.
secret_writer: writes a new secret to its file.
credential: the secret of each kind of source.
vault: the newest refresh token of each cloud, encrypted in the store.
vault_lease: the lease on a refresh token.
vault_key: the key of the vault.
upkeep: when a refresh token is used only to keep it alive.
errors: why a source gave no token.
rpc: the messages between service and clients.
callers: which broker users may request what.
client: requests tokens from the service.
plugin: the client as an authentication plugin of keystoneauth.
probe: tests the login to a cloud.
"""
