// The company's identity provider of the example: `oidc-provider`, a certified OpenID
// provider, with people, services and an agent. It listens on loopback and keeps nothing.
//
// What a real deployment has as sign-in pages is one grant here, `urn:example:account`, so
// that the story needs no browser. `/admin/*` is the operator's hand: it rotates keys and
// takes the provider down.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCOUNT = 'urn:example:account';
const SECRET = 'demo';

const groups = { alice: ['support'], mallory: [] };

/** What a token for each of these resources looks like. */
const resources = {
  'https://models.example.com': { accessTokenFormat: 'jwt', audience: 'models' },
  'https://models.example.com/opaque': { accessTokenFormat: 'opaque', audience: 'models' },
  'https://payroll.example.com': { accessTokenFormat: 'jwt', audience: 'payroll' },
};

const machine = (client_id, grant_types, more) => ({
  client_id, client_secret: SECRET, grant_types, redirect_uris: [], response_types: [], ...more,
});
const clients = [
  machine('chat-app', [ACCOUNT]),
  machine('copilot', [EXCHANGE]),
  machine('batch', ['client_credentials']),
  machine('vault', ['client_credentials'], { dpop_bound_access_tokens: true }),
  machine('guard', ['client_credentials']),
];

let keys = [];
let handle;
let down = false;
let port;

async function newKey() {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const jwk = { ...await exportJWK(privateKey), use: 'sig', alg: 'RS256', kid: `key-${keys.length + 1}` };
  keys = [jwk, ...keys];
}

function resource(provider, indicator) {
  const known = resources[indicator];
  if (!known) throw new errors.InvalidTarget();
  const jwt = { sign: { alg: 'RS256', kid: keys[0].kid } };
  const info = { scope: 'models.infer', accessTokenTTL: 600, ...known };
  return new provider.ResourceServer(indicator, known.accessTokenFormat === 'jwt' ? { ...info, jwt } : info);
}

/** A token for a person, who may have somebody acting for them. */
async function issue(ctx, provider, accountId, indicator) {
  const token = new provider.AccessToken({ accountId, client: ctx.oidc.client, gty: 'example' });
  token.resourceServer = resource(provider, indicator);
  token.scope = 'models.infer';
  ctx.body = {
    access_token: await token.save(), token_type: 'Bearer', expires_in: token.expiration,
  };
}

function configure() {
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients,
    jwks: { keys },
    scopes: ['models.infer'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'guard' },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, indicator) => resource(provider, indicator),
      },
    },
    extraTokenClaims: (ctx, token) => ({
      ...(token.accountId ? { groups: groups[token.accountId] } : {}),
      ...(ctx.state.act ? { act: ctx.state.act } : {}),
    }),
  });
  provider.registerGrantType(ACCOUNT, async (ctx) => {
    const { account, resource: indicator } = ctx.oidc.params;
    if (!(account in groups)) throw new errors.InvalidGrant('no such account');
    await issue(ctx, provider, account, indicator);
  }, ['account', 'resource']);
  provider.registerGrantType(EXCHANGE, async (ctx) => {
    const { subject_token: subject, resource: indicator } = ctx.oidc.params;
    const known = createLocalJWKSet({
      keys: keys.map(({ kty, kid, alg, use, n, e }) => ({ kty, kid, alg, use, n, e })),
    });
    const { payload } = await jwtVerify(subject, known, { issuer: provider.issuer, audience: 'models' })
      .catch(() => { throw new errors.InvalidGrant('the subject token is not accepted'); });
    ctx.state.act = { sub: ctx.oidc.client.clientId, sub_profile: 'ai_agent' };
    await issue(ctx, provider, payload.sub, indicator);
  }, ['subject_token', 'subject_token_type', 'resource']);
  handle = provider.callback();
}

async function admin(request, response) {
  switch (request.url) {
    case '/admin/rotate':
      await newKey();
      configure();
      break;
    case '/admin/down':
      down = true;
      break;
    case '/admin/up':
      down = false;
      break;
    default:
      response.statusCode = 404;
  }
  response.end();
}

const server = createServer((request, response) => {
  if (request.url.startsWith('/admin/')) return admin(request, response);
  if (down) {
    response.statusCode = 503;
    return response.end();
  }
  return handle(request, response);
});
await newKey();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
port = server.address().port;
configure();
console.log(`http://127.0.0.1:${port}`);
