"""A simulated OpenStack: Keystone, Nova, Glance and an EGI-like login provider in one process.

``python -m tests.testbed.simcloud --port 0 --ready-file PATH [--config FILE.json] [--host ADDRESS]``
serves below one address:

- ``/identity/v3``      Keystone: password, application credential, token, federated bearer token;
- ``/compute/v2.1``     Nova, microversions 2.1 to 2.96;
- ``/image/v2``         Glance: images, listed by their properties;
- ``/network/v2.0``     Neutron: networks, by id and name;
- ``/oidc/auth/realms/egi``  the login provider: refresh_token and client_credentials grants;
- ``/_sim``             the control API, in JSON.

The control API (bodies and answers are the structs of ``wire``, ``settings``, ``faults``):

====== ===================== ===========================================================
GET    state                 servers by status, settings, faults in force, outage, hook
PATCH  settings              change settings by field name
GET    servers               all servers
POST   servers               add servers: a list of ServerSpec
PATCH  servers               ServerChange: change status, lock or speed of servers by glob
POST   servers/remove        remove servers by glob, without a trace
POST   faults                add a Fault; returns its number
DELETE faults, faults/N      remove all faults, or one
PUT    outage                make services unavailable: 503, or connection resets
GET    counts                calls and answers by kind, and every action call
DELETE counts                reset the counts
GET    ledger                when each server was powered on
PUT    hook                  set the command to run when a server's power changes (loopback only)
POST   tokens/revoke         revoke all Keystone tokens
POST   grants/revoke         revoke all logins at the provider
POST   access-tokens/expire  expire all access tokens
POST   refresh-tokens        log in again; returns a refresh token
====== ===================== ===========================================================

From Python, :class:`tests.testbed.simcloud.handle.SimCloud` starts, controls and stops one.

Process
    __main__, handle: run a simulation; run one as a child process.
    app, simulation: the web application, and the objects behind it.
    control, client, wire: the control API, its Python client, and its messages.
    settings, clock, transport, web: settings, time, TCP resets, and common HTTP helpers.
Faults
    gate: counts, delays and disturbs each call before its service gets it.
    faults, effects, kinds, ratelimit: faults, their effects, the kinds of calls, and the rate limit.
    errors, echo: refusals, and answers that repeat all that was sent.
Compute, images and networks
    nova, novahttp, nova_discovery, nova_servers, nova_metadata, views: Nova's API.
    compute, model, ledger, power, flavors: servers over time, one server, powered-on time, the power hook.
    glance, images: Glance's API, and the images.
    neutron: Neutron's API.
Logins
    keystone, login, tokens, catalog: Keystone's API, login bodies, tokens, and the catalog.
    oidc, grants, devices, scopes: the login provider, its tokens, device codes, and scopes.
    credentials: the invented users, projects and secrets.
"""
