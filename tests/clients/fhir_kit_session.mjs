// A session of fhir-kit-client with a running server: prints one JSON line for each step, the last line says that it came to the end.
// Told by the environment: FHIR_BASE, FHIR_TOKEN and READ_TOKEN, which may read patients alone.
import assert from 'node:assert/strict';
import { CapabilityTool, Client } from 'fhir-kit-client';
import { tell } from './steps.mjs';

const SYSTEM = 'http://ids.example';
const LOINC = 'http://loinc.org';
const baseUrl = process.env.FHIR_BASE;
const client = new Client({ baseUrl, bearerToken: process.env.FHIR_TOKEN });

const patient = (value, more = {}) => ({
  resourceType: 'Patient',
  identifier: [{ system: SYSTEM, value }],
  name: [{ family: `Family${value}` }],
  ...more,
});
const result = (reference, number) => ({
  resourceType: 'Observation',
  status: 'final',
  code: { coding: [{ system: LOINC, code: '718-7' }] },
  subject: { reference },
  valueQuantity: { value: number, system: 'http://unitsofmeasure.org', code: 'g/dL' },
});
const ids = (bundle) => (bundle.entry ?? []).map((entry) => entry.resource.id);
const headers = (answer) => Client.httpFor(answer).response.headers;
const refused = async (promise) => {
  const error = await promise.then(() => assert.fail('was not refused'), (failure) => failure);
  assert.ok(error.response, error);
  return error.response;
};
const make = (body, options) => client.create({ resourceType: body.resourceType, body, options });

const steps = {
  async 'the capability statement is read without a token'() {
    const statement = await new Client({ baseUrl }).capabilityStatement();
    assert.equal(statement.fhirVersion, '4.0.1');
    const tool = new CapabilityTool(statement);
    for (const can of ['transaction', 'batch', 'search-system', 'history-system']) assert.ok(tool.serverCan(can), can);
    for (const can of ['read', 'vread', 'patch', 'delete', 'history-type']) assert.ok(tool.resourceCan('Patient', can), can);
    for (const name of ['_id', '_lastUpdated', '_tag']) assert.ok(tool.serverSearch(name), name);
    assert.ok(tool.resourceSearch('Patient', 'birthdate') && !tool.resourceSearch('Patient', 'colour'));
    assert.equal(tool.capabilityContents({ resourceType: 'Patient', capabilityType: 'conditionalCreate' }), true);
  },

  async 'a resource is created, read, updated and its versions are read'() {
    const made = await make(patient('life'));
    const { id } = made;
    assert.equal(headers(made).get('location'), `${baseUrl}/Patient/${id}/_history/1`);
    assert.deepEqual(await client.read({ resourceType: 'Patient', id }), made);
    const changed = await client.update({ resourceType: 'Patient', id, body: { ...made, gender: 'female' } });
    assert.equal(changed.meta.versionId, '2');
    assert.deepEqual(await client.vread({ resourceType: 'Patient', id, version: '1' }), made);
  },

  async 'a patch tests and replaces'() {
    const { id } = await make(patient('patch'));
    const change = (op, value) => ({ op, path: '/name/0/family', value });
    const jsonPatch = [change('test', 'Familypatch'), change('replace', 'New')];
    const patched = await client.patch({ resourceType: 'Patient', id, jsonPatch });
    assert.equal(patched.name[0].family, 'New');
    const { status, data } = await refused(client.patch({ resourceType: 'Patient', id, jsonPatch }));
    assert.deepEqual([status, data.resourceType], [422, 'OperationOutcome']);
  },

  async 'a deleted resource is gone and stays in the history'() {
    const { id } = await make(patient('end'));
    await client.delete({ resourceType: 'Patient', id });
    await client.delete({ resourceType: 'Patient', id });
    assert.equal((await refused(client.read({ resourceType: 'Patient', id }))).status, 410);
    const history = await client.history({ resourceType: 'Patient', id });
    assert.deepEqual(history.entry.map((entry) => entry.request.method), ['DELETE', 'POST']);
  },

  async 'history of a type and of everything'() {
    const { id } = await make({ resourceType: 'Organization', name: 'Ward' });
    const type = await client.history({ resourceType: 'Organization' });
    assert.deepEqual([type.type, ids(type)], ['history', [id]]);
    assert.equal((await client.history()).entry[0].resource.id, id);
  },

  async 'searches by GET and POST find the same, page by page'() {
    for (let number = 0; number < 5; number += 1) await make(patient(`page${number}`, { gender: 'other' }));
    const searchParams = { gender: 'other', 'name:contains': 'ILYPAGE', _count: 2, _sort: '_lastUpdated' };
    const seen = [];
    let page = await client.search({ resourceType: 'Patient', searchParams });
    assert.equal(client.prevPage({ bundle: page }), undefined);
    for (; page; page = await client.nextPage({ bundle: page })) seen.push(...page.entry.map((e) => e.resource.name[0].family));
    assert.deepEqual(seen, [0, 1, 2, 3, 4].map((number) => `Familypage${number}`));
    const posted = await client.search({ resourceType: 'Patient', searchParams: { ...searchParams, _count: 9 }, options: { postSearch: true } });
    assert.deepEqual(posted.entry.map((entry) => entry.resource.name[0].family), seen);
  },

  async 'compartments and the whole system are searched, by GET and POST'() {
    const { id } = await make(patient('owner'));
    const made = await make(result(`Patient/${id}`, 13.5));
    const compartment = { resourceType: 'Patient', id };
    for (const options of [{}, { postSearch: true }]) {
      const searchParams = { code: `${LOINC}|718-7` };
      const found = await client.search({ resourceType: 'Observation', compartment, searchParams, options });
      assert.deepEqual(ids(found), [made.id]);
      const all = await client.search({ searchParams: { _type: 'Patient,Observation', _id: `${id},${made.id}` }, options });
      assert.deepEqual(ids(all).sort(), [id, made.id].sort());
    }
    const chained = await client.search({ resourceType: 'Observation', searchParams: { 'subject:Patient.identifier': `${SYSTEM}|owner`, _include: 'Observation:subject' } });
    assert.deepEqual(ids(chained), [made.id, id]);
  },

  async 'a transaction is atomic, a batch is not'() {
    const urn = 'urn:uuid:8a2c2a3e-6f4f-4d8e-9a2b-3a6f0d8c7b11';
    const post = (resource, fullUrl) => ({ fullUrl, resource, request: { method: 'POST', url: resource.resourceType } });
    const good = [post(patient('bundle'), urn), post(result(urn, 1))];
    const bad = post({ ...result('Patient/x', 1), status: 'odd' });
    const bundle = (type, entry) => ({ resourceType: 'Bundle', type, entry });
    const { status, data } = await refused(client.transaction({ body: bundle('transaction', [...good, bad]) }));
    assert.equal(status, 400);
    assert.match(JSON.stringify(data), /Bundle\.entry\[2\]\.resource\.status/);
    const search = { resourceType: 'Patient', searchParams: { identifier: `${SYSTEM}|bundle` } };
    assert.equal(ids(await client.search(search)).length, 0);
    const batch = await client.batch({ body: bundle('batch', [post(patient('bundle')), bad]) });
    assert.deepEqual(batch.entry.map((entry) => entry.response.status.slice(0, 3)), ['201', '400']);
    const done = await client.transaction({ body: bundle('transaction', good) });
    assert.deepEqual(done.entry.map((entry) => entry.response.status.slice(0, 3)), ['201', '201']);
    const [reference] = done.entry[0].response.location.match(/Patient\/[^/]+/);
    assert.equal((await client.read({ resourceType: 'Observation', id: done.entry[1].response.location.match(/Observation\/([^/]+)/)[1] })).subject.reference, reference);
  },

  async 'operations read and add tags'() {
    const { id } = await make(patient('tags'));
    const input = { resourceType: 'Parameters', parameter: [{ name: 'meta', valueMeta: { tag: [{ code: 'seen' }] } }] };
    await client.operation({ resourceType: 'Patient', id, name: 'meta-add', input });
    const told = await client.operation({ resourceType: 'Patient', id, name: '$meta', method: 'GET' });
    assert.deepEqual(told.parameter[0].valueMeta.tag, [{ code: 'seen' }]);
  },

  async 'references are resolved: relative, absolute, contained and in a bundle'() {
    const made = await make(patient('target'));
    const reference = `Patient/${made.id}`;
    assert.deepEqual(await client.resolve({ reference }), made);
    assert.deepEqual(await client.resolve({ reference: `${baseUrl}/${reference}` }), made);
    const contained = [{ resourceType: 'Patient', id: 'inside', active: true }];
    const observation = await make({ ...result('#inside', 1), contained });
    assert.deepEqual(await client.resolve({ reference: '#inside', context: observation }), contained[0]);
    const page = await client.search({ resourceType: 'Patient', searchParams: { _id: made.id } });
    assert.deepEqual(await client.resolve({ reference, context: page }), made);
  },

  async 'conditional headers and criteria hold'() {
    const options = { headers: { 'If-None-Exist': `identifier=${SYSTEM}|once` } };
    const made = await make(patient('once'), options);
    assert.equal((await make(patient('once'), options)).id, made.id);
    const stale = { headers: { 'If-Match': 'W/"7"' } };
    const body = { ...made, active: true };
    assert.equal((await refused(client.update({ resourceType: 'Patient', id: made.id, body, options: stale }))).status, 412);
    const fresh = { headers: { 'If-Match': headers(made).get('etag') } };
    assert.equal((await client.update({ resourceType: 'Patient', id: made.id, body, options: fresh })).meta.versionId, '2');
    const searchParams = { identifier: `${SYSTEM}|once` };
    assert.equal((await client.update({ resourceType: 'Patient', searchParams, body: patient('once') })).meta.versionId, '3');
    const known = { headers: { 'If-None-Match': 'W/"3"' } };
    assert.equal((await refused(client.read({ resourceType: 'Patient', id: made.id, options: known }))).status, 304);
    const minimal = await make(patient('minimal'), { headers: { Prefer: 'return=minimal' } });
    assert.deepEqual([{ ...minimal }, Client.httpFor(minimal).response.status], [{}, 201]);
  },

  async 'what is wrong is told with status and OperationOutcome'() {
    const reader = new Client({ baseUrl, bearerToken: process.env.READ_TOKEN });
    const answers = [
      [404, () => client.read({ resourceType: 'Patient', id: 'none' })],
      [404, () => client.read({ resourceType: 'Nonsense', id: 'none' })],
      [400, () => make({ ...patient('odd'), gender: 'odd' })],
      [400, () => client.search({ resourceType: 'Patient', searchParams: { colour: 'red' } })],
      [401, () => new Client({ baseUrl }).read({ resourceType: 'Patient', id: 'none' })],
      [403, () => reader.create({ resourceType: 'Patient', body: patient('forbidden') })],
      [405, () => client.request('Patient', { method: 'PROPFIND' })],
    ];
    for (const [expected, ask] of answers) {
      const { status, data } = await refused(ask());
      assert.deepEqual([status, data.resourceType], [expected, 'OperationOutcome']);
    }
  },
};

await tell(steps);
