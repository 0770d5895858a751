// A certified OpenID provider on loopback, as its users run it. Its argument is the folder where it is installed,
// its configuration one line of JSON on standard input: clients, keys (a private JWK set), audience, token_s, introspection.
// It prints its issuer when it listens, and ends with its standard input.
//
// What a test does to it goes to /test/…: PUT /test/keys gives it other keys, as a rotation does, and PUT
// /test/disabled says which people are.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const installed = createRequire(`${process.argv[2]}/package.json`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(installed));

const lines = createInterface({ input: process.stdin });
const { clients, opaque, keys, audience, token_s, introspection } = JSON.parse(await new Promise((told) => lines.once('line', told)));
const disabled = new Set();
lines.on('close', () => process.exit(0)); // whoever started it is gone

function provider(issuer, jwks) {
  const made = new Provider(issuer, {
    clients,
    clientDefaults: { id_token_signed_response_alg: jwks.keys[0].alg },
    jwks,
    cookies: { keys: ['for tests only'] },
    claims: { openid: ['sub'], profile: ['groups'] },
    findAccount: async (_, id) => disabled.has(id) ? undefined : ({ accountId: id, claims: async () => ({ sub: id, groups: ['staff'] }) }),
    extraTokenClaims: async (_, token) => ({ groups: [token.accountId ? 'staff' : 'services'] }),
    issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    ttl: { AccessToken: token_s, ClientCredentials: token_s },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      dPoP: { enabled: true },
      introspection: { enabled: introspection, allowedPolicy: (_, __, token) => !disabled.has(token.accountId) },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => audience,
        useGrantedResource: async () => true,
        getResourceServerInfo: async (_, resource, client) => ({
          scope: 'migrate',
          audience: resource,
          accessTokenFormat: opaque.includes(client.clientId) ? 'opaque' : 'jwt',
          accessTokenTTL: token_s,
          jwt: { sign: { alg: jwks.keys[0].alg } },
        }),
      },
    },
  });
  made.on('server_error', (_, error) => console.error(error));
  return made.callback();
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let answer = provider(issuer, keys);
  server.on('request', async (request, response) => {
    if (!request.url.startsWith('/test/')) return answer(request, response);
    const parts = [];
    for await (const part of request) parts.push(part);
    const told = JSON.parse(Buffer.concat(parts));
    if (request.url === '/test/keys') answer = provider(issuer, told);
    else {
      disabled.clear();
      for (const name of told) disabled.add(name);
    }
    response.writeHead(204).end();
  });
  console.log(issuer);
});
