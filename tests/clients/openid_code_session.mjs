// A session of openid-client with a person: it asks the test to open an address, and is told where the browser ended.
// Told by the environment: FHIR_BASE, CLIENT_ID, KIND (public, symmetric or asymmetric), SECRET or KEY, REDIRECT_URI.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import * as client from 'openid-client';
import { tell } from './steps.mjs';

const { FHIR_BASE: base, CLIENT_ID: id, KIND: kind, SECRET: secret, REDIRECT_URI: redirect } = process.env;
const SCOPE = 'openid fhirUser launch/patient offline_access patient/Patient.rs';
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const opened = async (url) => {
  console.log(JSON.stringify({ open: url.href }));
  return new URL((await lines.next()).value);
};
const authentication = {
  public: async () => client.None(),
  symmetric: async () => client.ClientSecretBasic(secret),
  asymmetric: async () => {
    const jwk = JSON.parse(process.env.KEY);
    const key = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-384' }, false, ['sign']);
    // SMART's audience is the token endpoint; this client's own would be the issuer.
    const toTokenEndpoint = { [client.modifyAssertion]: (_, payload) => { payload.aud = config.serverMetadata().token_endpoint; } };
    return client.PrivateKeyJwt({ key, kid: jwk.kid }, toTokenEndpoint);
  },
}[kind];
let config;
let given;
const refused = async (promise) => {
  const error = await promise.then(() => assert.fail('was not refused'), (failure) => failure);
  assert.ok(error instanceof client.ResponseBodyError, error);
  return error.error;
};
const patient = async (token) => (await client.fetchProtectedResource(config, token, new URL(`${base}/Patient/${given.patient}`), 'GET')).json();
const status = (token) => patient(token).then(() => 200, (error) => error.status);

const steps = {
  async 'the server is discovered as an OpenID provider'() {
    const execute = [client.allowInsecureRequests];
    config = await client.discovery(new URL(base), id, {}, await authentication(), { execute });
    const found = config.serverMetadata();
    assert.equal(found.issuer, base);
    assert.ok(found.supportsPKCE('S256') && !found.code_challenge_methods_supported.includes('plain'));
    assert.ok(found.revocation_endpoint && found.introspection_endpoint);
  },

  async 'a person agrees, and the code is redeemed with PKCE, state, nonce and iss'() {
    const pkceCodeVerifier = client.randomPKCECodeVerifier();
    const expectedState = client.randomState();
    const expectedNonce = client.randomNonce();
    const asked = client.buildAuthorizationUrl(config, {
      redirect_uri: redirect, scope: SCOPE, aud: base, state: expectedState, nonce: expectedNonce,
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
    });
    const back = await opened(asked);
    assert.equal(back.searchParams.get('iss'), base);
    given = await client.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true });
    assert.equal(given.claims().fhirUser, `${base}/${process.env.FHIR_USER}`);
    assert.deepEqual(new Set(given.scope.split(' ')), new Set(SCOPE.split(' ')));
    assert.equal((await patient(given.access_token)).id, given.patient);
    assert.equal(await refused(client.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState, expectedNonce })), 'invalid_grant');
  },

  async 'a code that came twice takes all of its grant away'() {
    assert.equal(await status(given.access_token), 401);
    assert.equal(await refused(client.refreshTokenGrant(config, given.refresh_token)), 'invalid_grant');
  },

  async 'refresh tokens rotate, and one that is used again ends them all'() {
    await again();
    const first = given.refresh_token;
    const next = await client.refreshTokenGrant(config, first);
    assert.notEqual(next.refresh_token, first);
    assert.equal((await patient(next.access_token)).id, given.patient);
    const narrow = await client.refreshTokenGrant(config, next.refresh_token, { scope: 'patient/Patient.r' });
    assert.equal(narrow.scope, 'patient/Patient.r');
    assert.equal(await refused(client.refreshTokenGrant(config, narrow.refresh_token, { scope: 'patient/*.rs' })), 'invalid_scope');
    assert.equal(await refused(client.refreshTokenGrant(config, first)), 'invalid_grant');
    assert.equal(await refused(client.refreshTokenGrant(config, narrow.refresh_token)), 'invalid_grant');
    assert.equal(await status(next.access_token), 401);
  },

  async 'a token that is revoked ends with its grant'() {
    await again();
    await client.tokenRevocation(config, given.refresh_token);
    assert.equal(await status(given.access_token), 401);
    assert.equal(await refused(client.refreshTokenGrant(config, given.refresh_token)), 'invalid_grant');
  },

  async 'a token is introspected by who may, and by nobody else'() {
    await again();
    if (kind === 'public') {
      assert.equal(await refused(client.tokenIntrospection(config, given.access_token)), 'invalid_client');
      return;
    }
    const found = await client.tokenIntrospection(config, given.access_token);
    assert.deepEqual([found.active, found.client_id, found.patient, found.scope], [true, id, given.patient, given.scope]);
    assert.deepEqual([found.sub, found.iss], [given.claims().sub, base]);
    await client.tokenRevocation(config, given.access_token);
    assert.deepEqual(await client.tokenIntrospection(config, given.access_token), { active: false });
  },
};

async function again() {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const code_challenge = await client.calculatePKCECodeChallenge(pkceCodeVerifier);
  const asked = client.buildAuthorizationUrl(config, { redirect_uri: redirect, scope: SCOPE, aud: base, state: expectedState, code_challenge, code_challenge_method: 'S256' });
  given = await client.authorizationCodeGrant(config, await opened(asked), { pkceCodeVerifier, expectedState });
}

await tell(steps);
process.stdin.destroy();
