// A session of fhir-kit-client with a person: it finds the addresses of SMART wherever they are told first, and reads by the token that it got.
// Told by the environment: FHIR_BASE, CLIENT_ID of a public app and REDIRECT_URI. It asks the test to open an address.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Client } from 'fhir-kit-client';
import { tell } from './steps.mjs';

const { FHIR_BASE: baseUrl, CLIENT_ID: client_id, REDIRECT_URI: redirect_uri } = process.env;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const client = new Client({ baseUrl });
let found;

const steps = {
  async 'the addresses of SMART are found'() {
    found = await client.smartAuthMetadata();
    const oauth = `${baseUrl.replace(/\/fhir$/, '')}/oauth`;
    assert.equal(String(found.authorizeUrl), `${oauth}/authorize`);
    assert.equal(String(found.tokenUrl), `${oauth}/token`);
  },

  async 'a person agrees, and the client reads with the token and no further'() {
    const code_verifier = randomBytes(48).toString('base64url');
    const code_challenge = createHash('sha256').update(code_verifier).digest('base64url');
    const asked = new URL(found.authorizeUrl);
    const fields = { response_type: 'code', client_id, redirect_uri, scope: 'launch/patient patient/Patient.rs', state: 'any', aud: baseUrl, code_challenge, code_challenge_method: 'S256' };
    for (const [name, value] of Object.entries(fields)) asked.searchParams.set(name, value);
    console.log(JSON.stringify({ open: asked.href }));
    const code = new URL((await lines.next()).value).searchParams.get('code');
    const body = new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri, client_id, code_verifier });
    const given = await (await fetch(found.tokenUrl, { method: 'POST', body })).json();
    client.bearerToken = given.access_token;
    assert.equal((await client.read({ resourceType: 'Patient', id: given.patient })).id, given.patient);
    const bundle = await client.search({ resourceType: 'Patient', searchParams: {} });
    assert.deepEqual(bundle.entry.map((entry) => entry.resource.id), [given.patient]);
    const error = await client.search({ resourceType: 'Condition', searchParams: {} }).then(() => assert.fail('was not refused'), (failure) => failure);
    assert.equal(error.response.status, 403);
  },
};

await tell(steps);
process.stdin.destroy();
