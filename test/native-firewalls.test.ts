/** Firewall rulesets of the native API over HTTP on a simulated host, and the commands that use it. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { FirewallBody, GlobalRulesBody } from '../src/dialects/native/schema/firewalls.ts'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const ABSENT = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11'
let server: TestServer
let api: NativeClient
let count = 0
const unique = (what: string) => `${what}-${(count += 1)}`

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
})
after(() => server.stop())

const launch = (more: object = {}) => api.ok<InstanceBody>(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: unique('i'), cmd: ['sleep', '100000'], ...more } })
const make = (body: object) => api.ok<FirewallBody>(201, 'POST', '/firewalls', { body: { name: unique('fw'), ...body } })

test('a ruleset is made, found by its name, changed and deleted', async () => {
  const made = await make({ rules: [{ protocol: 'tcp', ports: [80, 80], source: '10.1.2.3', description: 'web' }, { protocol: 'icmp' }] })
  assert.deepEqual(made.rules, [
    { protocol: 'tcp', ports: [80, 80], source: '10.1.2.3/32', description: 'web' },
    { protocol: 'icmp', ports: null, source: '0.0.0.0/0', description: '' },
  ])
  assert.deepEqual([made.region, made.instanceIds], ['home', []])
  assert.deepEqual(await api.ok(200, 'GET', `/firewalls/${made.name}`), made)
  const renamed = await api.ok<FirewallBody>(200, 'PATCH', `/firewalls/${made.id}`, { body: { name: unique('fw'), rules: [] } })
  assert.deepEqual(renamed.rules, [])
  await api.refused(404, 'not_found', 'GET', `/firewalls/${made.name}`)
  assert.ok((await api.ok<{ items: FirewallBody[] }>(200, 'GET', '/firewalls')).items.some(({ id }) => id === made.id))
  await api.ok(204, 'DELETE', `/firewalls/${made.id}`)
  await api.refused(404, 'not_found', 'DELETE', `/firewalls/${made.id}`)
})

test('rules that can’t be are refused, each with the reason', async () => {
  const wrong: readonly object[] = [
    { protocol: 'tcp', ports: [90, 80] },
    { protocol: 'tcp', ports: [80] },
    { protocol: 'tcp', ports: [0, 80] },
    { protocol: 'icmp', ports: [1, 2] },
    { protocol: 'tcp', source: 'anywhere' },
    { protocol: 'tcp', source: '10.0.0.0/33' },
    { protocol: 'sctp' },
    { protocol: 'tcp', port: 80 },
    {},
  ]
  for (const rule of wrong) await api.refused(400, 'invalid_request', 'POST', '/firewalls', { body: { name: 'x', rules: [rule] } })
  await api.refused(400, 'invalid_request', 'POST', '/firewalls', { body: { name: '' } })
  await api.refused(400, 'invalid_request', 'POST', '/firewalls', { body: { name: 'x', region: 'atlantis' } })
  await api.refused(400, 'invalid_request', 'PATCH', `/firewalls/${(await make({})).id}`, { body: {} })
})

test('a ruleset is given to an instance that runs, and taken from it, and the whole firewall goes', async () => {
  const [web, db] = [await make({ rules: [{ protocol: 'tcp', ports: [80, 80] }] }), await make({})]
  const plain = await launch()
  assert.equal(plain.firewallRulesets, null)
  const path = `/instances/${plain.name}/firewalls`
  const has = async (method: string, at: string, body?: object) => (await api.ok<InstanceBody>(200, method, at, body === undefined ? {} : { body })).firewallRulesets
  assert.deepEqual(await has('POST', path, { firewall: web.name }), [web.id])
  assert.deepEqual(await has('POST', path, { firewall: db.id }), [web.id, db.id])
  assert.deepEqual(await has('POST', path, { firewall: db.id }), [web.id, db.id])
  assert.deepEqual((await api.ok<FirewallBody>(200, 'GET', `/firewalls/${db.id}`)).instanceIds, [plain.id])
  await api.refused(409, 'volume_in_use', 'DELETE', `/firewalls/${db.id}`)
  assert.deepEqual(await has('DELETE', `${path}/${web.name}`), [db.id])
  await api.refused(404, 'not_found', 'DELETE', `${path}/${web.id}`)
  assert.deepEqual(await has('PUT', path, { firewalls: [] }), [])
  assert.deepEqual(await has('PUT', path, { firewalls: [web.id, web.name] }), [web.id])
  assert.equal(await has('PUT', path, { firewalls: null }), null)
  await api.ok(204, 'DELETE', `/firewalls/${db.id}`)
  const reasons = (await api.ok<{ timeline: readonly { reason: string | null }[] }>(200, 'GET', `/instances/${plain.id}`)).timeline.map(({ reason }) => reason)
  assert.ok(reasons.includes('Its firewall is taken away.'))
  const lines = await api.ok<{ items: readonly { action: string }[] }>(200, 'GET', `/audit?kind=instance&target=${plain.id}`)
  assert.ok(lines.items.some(({ action }) => action === 'instance.firewall'))
})

test('what is not there, or another project’s, can’t be attached', async () => {
  const { id } = await launch()
  const { secret } = await api.ok<{ secret: string }>(201, 'POST', '/keys', { body: { name: unique('key'), scopes: ['read'] } })
  await api.refused(404, 'not_found', 'POST', `/instances/${id}/firewalls`, { body: { firewall: ABSENT } })
  await api.refused(404, 'not_found', 'PUT', `/instances/${ABSENT}/firewalls`, { body: { firewalls: null } })
  await api.as(secret).refused(403, 'forbidden', 'PUT', `/instances/${id}/firewalls`, { body: { firewalls: null } })
  const many = await Promise.all(Array.from({ length: 11 }, () => make({})))
  await api.refused(413, 'limit_exceeded', 'PUT', `/instances/${id}/firewalls`, { body: { firewalls: many.map((each) => each.id) } })
})

test('an instance is launched with rulesets, or with the global rules alone', async () => {
  const web = await make({})
  assert.deepEqual((await launch({ firewalls: [web.name] })).firewallRulesets, [web.id])
  assert.deepEqual((await launch({ firewalls: [] })).firewallRulesets, [])
  assert.equal((await launch({ firewalls: null })).firewallRulesets, null)
  await api.refused(404, 'not_found', 'POST', '/instances', { body: { image: IMAGE, firewalls: ['absent'] } })
})

test('the global rules are read and replaced', async () => {
  const before = await api.ok<GlobalRulesBody>(200, 'GET', '/firewall-rules')
  assert.deepEqual(before.rules.map(({ protocol }) => protocol), ['tcp', 'icmp'])
  const rules = [{ protocol: 'all' as const, ports: null, source: '10.0.0.0/8', description: '' }]
  assert.deepEqual(await api.ok(200, 'PUT', '/firewall-rules', { body: { rules } }), { rules })
  assert.deepEqual(await api.ok(200, 'PUT', '/firewall-rules', { body: before }), before)
})

test('berth firewall does all of it', async () => {
  const env = commandEnv(server)
  const ends = async (status: number, ...args: readonly string[]) => {
    const result = await startBerth(env, args).done
    assert.equal(result.status, status, `${args.join(' ')}: ${result.stdout}${result.stderr}`)
    return status === 0 ? result.stdout : result.stderr
  }
  const name = unique('cli')
  const id = (await ends(0, 'firewall', 'create', name, '--rule', 'tcp:80@10.0.0.0/8', '--rule', 'udp:5000-5010', '--rule', 'icmp')).trim()
  assert.match(await ends(0, 'firewall', 'ls'), new RegExp(`${id} +${name} +tcp:80@10.0.0.0/8, udp:5000-5010@0.0.0.0/0, icmp@0.0.0.0/0`))
  await ends(0, 'firewall', 'update', name, '--no-rules')
  assert.deepEqual((JSON.parse(await ends(0, 'firewall', 'inspect', name)) as FirewallBody[])[0]?.rules, [])
  const instance = (await ends(0, 'run', '-d', '--firewall', name, IMAGE, 'sleep', '1000')).trim()
  const rulesets = async () => (await api.ok<InstanceBody>(200, 'GET', `/instances/${instance}`)).firewallRulesets
  assert.deepEqual(await rulesets(), [id])
  await ends(0, 'firewall', 'detach', instance, name)
  assert.deepEqual(await rulesets(), [])
  await ends(0, 'firewall', 'detach', instance, '--all')
  assert.equal(await rulesets(), null)
  await ends(0, 'firewall', 'attach', instance)
  assert.deepEqual(await rulesets(), [])
  await ends(0, 'firewall', 'attach', instance, name)
  assert.match(await ends(1, 'firewall', 'rm', name), /in use/)
  assert.match(await ends(0, 'firewall', 'global'), /^tcp:22@0\.0\.0\.0\/0 {2}# Allow SSH/)
  assert.match(await ends(2, 'firewall', 'create', 'x', '--rule', 'web'), /PROTOCOL/)
  assert.match(await ends(2, 'firewall', 'update', name), /--rule/)
  assert.match(await ends(2, 'firewall', 'detach', instance), /--all/)
  await ends(0, 'rm', '-f', instance)
  assert.equal((await ends(0, 'firewall', 'rm', id)).trim(), id)
})
