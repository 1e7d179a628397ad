"""A simulated OpenStack: Keystone, Nova and an EGI-like login in one process, with faults on demand.

``python -m tests.testbed.simcloud --port 0 --ready-file PATH [--config FILE.json] [--host ADDRESS]``
serves, below one address,

- ``/identity/v3``      Keystone: password, application credential, token, federated bearer token;
- ``/compute/v2.1``     Nova, microversions 2.1 to 2.96;
- ``/oidc/auth/realms/egi``  the login provider: refresh_token and client_credentials grants;
- ``/_sim``             the control API, in JSON.

The control API (bodies and answers are the structs of ``wire``, ``settings``, ``faults``):

====== ===================== ===========================================================
GET    state                 servers by status, settings, faults in force, outage, hook
PATCH  settings              change settings by field name
GET    servers               every server as it is
POST   servers               add servers: a list of ServerSpec
PATCH  servers               ServerChange: status, lock or speed of servers by glob
POST   servers/remove        forget servers by glob
POST   faults                put a Fault in force; answers its number
DELETE faults, faults/N      lift all faults, or one
PUT    outage                take services away, as 503 or as connection resets
GET    counts                calls and answers by kind, and every action call
DELETE counts                begin to count anew
GET    ledger                when each server was powered on
PUT    hook                  the command run when a server's power changes (loopback only)
POST   tokens/revoke         all Keystone tokens
POST   grants/revoke         all logins at the provider
POST   access-tokens/expire  all access tokens
POST   refresh-tokens        log in anew; answers a refresh token
====== ===================== ===========================================================

From Python, :class:`tests.testbed.simcloud.handle.SimCloud` starts, drives and stops one.
"""
