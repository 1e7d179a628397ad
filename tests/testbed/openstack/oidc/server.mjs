// The login provider: the realm at the issuer's path, and test operations below /_test/.
// Usage: node server.mjs CONFIG.json

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { approveDevice, createProvider, mintRefreshToken } from './provider.mjs';
import { drop, issuedTokens } from './store.mjs';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { pathname: realm, hostname, port } = new URL(config.issuer);
const settings = { ...config.settings };
const provider = createProvider(config, settings);
const answer = provider.callback();
const counts = {};

async function body(request) {
  let text = '';
  for await (const piece of request) text += piece;
  return text === '' ? {} : JSON.parse(text);
}

const HANDLES = {
  'POST refresh-tokens': async () => ({ refresh_token: await mintRefreshToken(provider, config) }),
  'POST device-codes/approve': async ({ user_code }) => ({ approved: await approveDevice(provider, config, user_code) }),
  'DELETE grants': async () => ({ revoked: drop('Grant', 'RefreshToken', 'AccessToken', 'ClientCredentials') }),
  'DELETE access-tokens': async () => ({ expired: drop('AccessToken', 'ClientCredentials') }),
  'PATCH settings': async (changes) => Object.assign(settings, changes),
  'GET counts': async () => counts,
  'GET secrets': async () => issuedTokens(),
};

function reply(response, status, content) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(content));
}

async function handle(request, response, name) {
  const handler = HANDLES[`${request.method} ${name}`];
  if (handler === undefined) return reply(response, 404, { error: `no handle ${request.method} ${name}` });
  try {
    return reply(response, 200, await handler(await body(request)));
  } catch (error) {
    return reply(response, 400, { error: String(error) });
  }
}

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, config.issuer);
  if (pathname.startsWith('/_test/')) {
    handle(request, response, pathname.slice('/_test/'.length));
  } else if (pathname.startsWith(`${realm}/`)) {
    const path = pathname.slice(realm.length);
    counts[path] = (counts[path] ?? 0) + 1;
    // The provider derives its mount point from these two.
    request.originalUrl = request.url;
    request.url = request.url.slice(realm.length);
    answer(request, response);
  } else {
    reply(response, 404, { error: 'not found' });
  }
});
server.listen(Number(port), hostname);
process.on('SIGTERM', () => process.exit(0));
