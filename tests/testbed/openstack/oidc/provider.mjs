// oidc-provider with the paths, clients, scopes and claims of EGI Check-in, which is a Keycloak.

import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';
import { MemoryStore } from './store.mjs';

const PROTOCOL = '/protocol/openid-connect';
const ENTITLEMENT_CLAIMS = ['entitlements', 'eduperson_entitlement'];

/** The scope "claim" means all values; "claim:value" narrows a token to one value. */
function entitlements(held, scope) {
  const words = scope.split(' ');
  const claims = {};
  for (const claim of ENTITLEMENT_CLAIMS) {
    const granted = held.filter((value) => words.includes(claim) || words.includes(`${claim}:${value}`));
    if (granted.length > 0) claims[claim] = granted;
  }
  return claims;
}

/** Every scope that grants entitlements, with the claim that it grants. */
function scopesOf(held) {
  const scopes = {};
  for (const claim of ENTITLEMENT_CLAIMS) {
    for (const scope of [claim, ...held.map((value) => `${claim}:${value}`)]) scopes[scope] = [claim];
  }
  return scopes;
}

/** Create the provider. `config` is the content of the file; `settings` may change at run time. */
export function createProvider(config, settings) {
  const { person, clients } = config;
  const entitlementScopes = scopesOf(person.entitlements);
  const about = (subject, scope) => ({
    sub: subject,
    voperson_id: subject,
    email: person.email,
    email_verified: true,
    preferred_username: person.username,
    ...entitlements(person.entitlements, scope),
  });
  const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

  const provider = new Provider(config.issuer, {
    adapter: MemoryStore,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'only' }] },
    cookies: { keys: [config.cookie_key] },
    clients: [
      {
        client_id: clients.public.id,
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        grant_types: ['refresh_token', deviceGrant],
        redirect_uris: [],
        response_types: [],
      },
      {
        client_id: clients.confidential.id,
        client_secret: clients.confidential.secret,
        grant_types: ['client_credentials', 'refresh_token', deviceGrant],
        redirect_uris: [],
        response_types: [],
      },
      {
        client_id: clients.introspection.id,
        client_secret: clients.introspection.secret,
        grant_types: [],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['openid', 'offline_access', 'email', 'profile', 'voperson_id', ...Object.keys(entitlementScopes)],
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['preferred_username'],
      voperson_id: ['voperson_id'],
      ...entitlementScopes,
    },
    findAccount: async (_context, subject) => ({
      accountId: subject,
      claims: async (_use, scope) => about(subject, scope),
    }),
    // Check-in's introspection names the user; for a service account, the client.
    extraTokenClaims: async (_context, token) => about(token.accountId ?? token.clientId, token.scope ?? ''),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      introspection: { enabled: true, allowedPolicy: async () => true },
      revocation: { enabled: true, allowedPolicy: async () => true },
      userinfo: { enabled: true },
    },
    issueRefreshToken: async (_context, client, code) =>
      client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
    rotateRefreshToken: () => settings.rotate_refresh_tokens,
    ttl: {
      AccessToken: () => settings.access_token_seconds,
      ClientCredentials: () => settings.access_token_seconds,
      RefreshToken: () => settings.refresh_token_seconds,
      IdToken: 3600,
      Grant: 400 * 86400,
      DeviceCode: 600,
      Interaction: 600,
      Session: 86400,
    },
    routes: {
      authorization: `${PROTOCOL}/auth`,
      code_verification: '/device',
      device_authorization: `${PROTOCOL}/auth/device`,
      end_session: `${PROTOCOL}/logout`,
      introspection: `${PROTOCOL}/token/introspect`,
      jwks: `${PROTOCOL}/certs`,
      revocation: `${PROTOCOL}/revoke`,
      token: `${PROTOCOL}/token`,
      userinfo: `${PROTOCOL}/userinfo`,
    },
  });
  // Keycloak reports the lifetime of the refresh token; the standard has no such member.
  provider.use(async (context, next) => {
    await next();
    const token = context.oidc?.entities?.RefreshToken;
    if (context.oidc?.route === 'token' && token && context.body?.access_token) {
      context.body = { ...context.body, refresh_expires_in: token.remainingTTL };
    }
  });
  provider.on('server_error', (_context, error) => console.error('server_error', error));
  return provider;
}

/** All scopes that a user can grant, as one string. */
function fullScope(config) {
  const entitlementScopes = Object.keys(scopesOf(config.person.entitlements));
  return ['openid', 'email', 'profile', 'voperson_id', 'offline_access', ...entitlementScopes].join(' ');
}

/** Grant `scope` to a client as the user; return the id of the grant. */
async function grantScope(provider, accountId, clientId, scope) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(scope);
  return grant.save();
}

/** Log the user in at the public client; return the first refresh token. */
export async function mintRefreshToken(provider, config) {
  const { subject } = config.person;
  const client = await provider.Client.find(config.clients.public.id);
  const scope = fullScope(config);
  const grantId = await grantScope(provider, subject, client.clientId, scope);
  const fields = { accountId: subject, client, grantId, scope, gty: 'device_code', claims: {} };
  return new provider.RefreshToken(fields).save();
}

/** Approve a device code as the user would; return whether the code exists. */
export async function approveDevice(provider, config, userCode) {
  const code = await provider.DeviceCode.findByUserCode(userCode.replaceAll('-', ''));
  if (code === undefined) return false;
  const { subject } = config.person;
  const scope = code.params.scope ?? 'openid';
  const grantId = await grantScope(provider, subject, code.clientId, scope);
  Object.assign(code, { accountId: subject, grantId, scope, claims: {}, authTime: Math.floor(Date.now() / 1000) });
  await code.save();
  return true;
}
