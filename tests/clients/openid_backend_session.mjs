// A session of openid-client as a SMART backend service: it proves by its private key who it is.
// Told by the environment: FHIR_BASE, CLIENT_ID (registered for system/Patient.rs alone) and KEY, its private key as a JWK.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import { tell } from './steps.mjs';

const base = process.env.FHIR_BASE;
const id = process.env.CLIENT_ID;
const jwk = JSON.parse(process.env.KEY);
const curve = { name: 'ECDSA', namedCurve: 'P-384' };
const imported = (key) => crypto.subtle.importKey('jwk', key, curve, false, ['sign']);

const published = await (await fetch(`${base}/.well-known/smart-configuration`)).json();
// SMART's audience is the token endpoint; this client's own would be the issuer.
const toTokenEndpoint = { [client.modifyAssertion]: (_, payload) => { payload.aud = published.token_endpoint; } };
const configured = (key, more = toTokenEndpoint) => {
  const made = new client.Configuration({ issuer: base, ...published }, id, {}, client.PrivateKeyJwt({ key, kid: jwk.kid }, more));
  client.allowInsecureRequests(made);
  return made;
};
const config = configured(await imported(jwk));
const ask = (scope, by = config) => client.clientCredentialsGrant(by, { scope });
const refused = async (promise) => {
  const error = await promise.then(() => assert.fail('was not refused'), (failure) => failure);
  assert.ok(error instanceof client.ResponseBodyError, error);
  return [error.status, error.error];
};

const steps = {
  async 'a signed assertion gets a token for what is registered'() {
    const given = await ask('system/Patient.rs system/Observation.rs');
    assert.deepEqual([given.token_type, given.scope, given.expires_in], ['bearer', 'system/Patient.rs', 300]);
    const answer = await client.fetchProtectedResource(config, given.access_token, new URL(`${base}/Patient`), 'GET');
    assert.equal((await answer.json()).resourceType, 'Bundle');
    const other = await client.fetchProtectedResource(config, given.access_token, new URL(`${base}/Observation`), 'GET').catch((e) => e);
    assert.equal(other.status, 403);
  },

  async 'every token has an assertion of its own'() {
    const tokens = await Promise.all([1, 2, 3].map(() => ask('system/Patient.rs')));
    assert.equal(new Set(tokens.map((given) => given.access_token)).size, 3);
  },

  async 'a scope that is not registered is refused'() {
    assert.deepEqual(await refused(ask('system/Observation.rs')), [400, 'invalid_scope']);
    assert.deepEqual(await refused(ask('patient/Patient.rs')), [400, 'invalid_scope']);
  },

  async 'another key, or another audience, is refused'() {
    const { privateKey } = await crypto.subtle.generateKey(curve, false, ['sign']);
    assert.deepEqual(await refused(ask('system/Patient.rs', configured(privateKey))), [401, 'invalid_client']);
    const elsewhere = { [client.modifyAssertion]: (_, payload) => { payload.aud = 'https://elsewhere.example/token'; } };
    assert.deepEqual(await refused(ask('system/Patient.rs', configured(await imported(jwk), elsewhere))), [401, 'invalid_client']);
  },
};

await tell(steps);
