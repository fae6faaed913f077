/** Tokens at the MCP endpoint: only those that were made for it, by whom the operator named, and no further than their scope. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { CryptoKey, JWTPayload } from 'jose'
import { BerthError } from '../src/instance/errors.ts'
import { makeAuthenticate } from '../src/server/authenticate.ts'
import { isOnlyFor } from '../src/server/mcp-tokens.ts'
import { EVERYTHING } from '../src/mcp/mode.ts'
import { makeLog } from '../src/server/logging.ts'
import { serveMcp } from '../src/server/mcp-server.ts'
import type { ServedMcp } from '../src/server/mcp-server.ts'
import type { Fixture } from './engine-fixture.ts'
import { engineFixture } from './engine-fixture.ts'
import { catalogue, connect, dataOf, ERAS } from './support/mcp.ts'

const SECRET = 'a secret of at least sixteen characters'
const RESOURCE = 'https://berth.example/mcp'
const METADATA = 'https://berth.example/.well-known/oauth-protected-resource/mcp'

let fixture: Fixture
let issuer: Server
let iss: string
let keys: { readonly privateKey: CryptoKey; readonly publicKey: CryptoKey }
let served: ServedMcp
let plain: ServedMcp
const stopping = new AbortController()

before(async () => {
  fixture = await engineFixture({ catalogue })
  keys = await generateKeyPair('ES256', { extractable: true })
  const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256' }
  issuer = createServer((request, response) => {
    const metadata = request.url === '/.well-known/oauth-authorization-server/tenant'
    if (!metadata && request.url !== '/jwks') return void response.writeHead(404).end()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(metadata ? { issuer: iss, jwks_uri: `${new URL(iss).origin}/jwks` } : { keys: [jwk] }))
  })
  await new Promise<void>(resolve => issuer.listen(0, '127.0.0.1', resolve))
  iss = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/tenant`
  served = await serve([iss])
  plain = await serve([])
})
after(async () => {
  stopping.abort()
  await Promise.all([served?.close(), plain?.close()])
  issuer?.close()
  await fixture?.close()
})

async function serve(authorizationServers: readonly string[], projectClaim: string | null = null): Promise<ServedMcp> {
  const { engine, caller } = fixture
  return serveMcp({
    config: { listen: { host: '127.0.0.1', port: 0 }, isRequired: true, hostnames: [], mode: EVERYTHING, resource: RESOURCE, authorizationServers, projectClaim },
    jwtSecret: SECRET,
    project: caller.projectId,
    engine,
    catalogue,
    authenticate: makeAuthenticate({ keys: engine.keys, project: caller.projectId, jwtSecret: SECRET }),
    version: '0.0.0-test',
    stopping: stopping.signal,
    now: Date.now,
    log: makeLog('silent'),
  })
}

/** What a token says; undefined leaves it out. */
type Claims = { readonly [K in keyof JWTPayload]: JWTPayload[K] | undefined }

const soon = () => Math.floor(Date.now() / 1000) + 60
const issued = (claims: Claims = {}, key: CryptoKey = keys.privateKey) =>
  new SignJWT({ iss, aud: RESOURCE, exp: soon(), scope: 'read write exec', ...claims } as JWTPayload).setProtectedHeader({ alg: 'ES256', kid: 'one' }).sign(key)
const own = (claims: Claims = {}, secret = SECRET) =>
  new SignJWT({ aud: RESOURCE, exp: soon(), scope: 'read', ...claims } as JWTPayload).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret))

async function ask(token: string | null, body: object = { jsonrpc: '2.0', id: 7, method: 'ping' }, { url } = served, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
  const authorization = token === null ? {} : { authorization: `Bearer ${token}` }
  return fetch(url ?? '', { method: 'POST', headers: { accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...authorization, ...headers }, body: JSON.stringify(body) })
}

describe('a token', () => {
  for (const era of ERAS) {
    test(`for this server is taken, and sees what its scope allows (${era})`, async () => {
      const client = await connect(served.url ?? '', era, await issued({ scope: 'read openid admin' }))
      const { tools } = await client.listTools()
      assert.ok(tools.length > 5 && tools.every(({ annotations }) => annotations?.readOnlyHint === true), tools.map(({ name }) => name).join())
      assert.equal(dataOf<{ count: number }>(await client.callTool({ name: 'list-instances', arguments: {} })).count, 0)
      await client.close()
    })
  }

  test('that the operator signed is taken as well, and either spelling of the resource', async () => {
    for (const aud of [RESOURCE, `${RESOURCE}/`, ['https://other.example', RESOURCE]]) {
      const client = await connect(served.url ?? '', '2026-07-28', await own({ aud }))
      await client.close()
    }
  })

  for (const [name, token, says] of [
    ['for another service', () => issued({ aud: 'https://other.example/mcp' }), /it must be for https:\/\/berth\.example\/mcp/],
    ['for nobody', () => issued({ aud: undefined }), /it must be for/],
    ['for another service, of the operator', () => own({ aud: 'hypeman' }), /it must be for/],
    ['that has expired', () => issued({ exp: soon() - 3600 }), /has expired/],
    ['that never expires', () => issued({ exp: undefined }), /its exp is missing or wrong/],
    ['of an issuer that nobody named', () => issued({ iss: 'https://evil.example' }), /of an issuer that this server does not know/],
    ['signed by another key', async () => issued({}, (await generateKeyPair('ES256')).privateKey), /is not valid/],
    ['signed with another secret', () => own({}, 'another secret of sixteen characters'), /is not valid/],
    ['that is none', async () => 'a.b.c', /is not valid/],
  ] as const) {
    test(`${name} is refused, and told where tokens are had`, async () => {
      const answer = await ask(await token())
      assert.equal(answer.status, 401)
      assert.match(((await answer.json()) as { error: { message: string } }).error.message, says)
      assert.equal(answer.headers.get('www-authenticate'), `Bearer realm="berth", error="invalid_token", resource_metadata="${METADATA}", scope="read write exec"`)
    })
  }

  test('that lacks the scope of a tool is told which to ask for', async () => {
    const call = (name: string) => ({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name, arguments: { id: 'x', command: ['true'] } } })
    const answer = await ask(await issued({ scope: 'read' }), call('exec-command'))
    assert.equal(answer.status, 403)
    assert.equal(answer.headers.get('www-authenticate'), `Bearer realm="berth", error="insufficient_scope", resource_metadata="${METADATA}", scope="read exec"`)
    assert.deepEqual(await answer.json(), { jsonrpc: '2.0', id: 7, error: { code: -32_001, message: 'The token lacks the scope exec.' } })
  })

  test('goes on with a session only of its own subject and scope', async () => {
    const initialize = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } } }
    const opened = await ask(await issued({ sub: 'ann' }), initialize)
    await opened.text()
    const session = { 'mcp-session-id': opened.headers.get('mcp-session-id') ?? '', 'mcp-protocol-version': '2025-11-25' }
    const list = { jsonrpc: '2.0', id: 2, method: 'tools/list' }
    for (const [claims, status] of [[{ sub: 'ann' }, 200], [{ sub: 'bob' }, 404], [{ sub: 'ann', scope: 'read' }, 404]] as const) {
      assert.equal((await ask(await issued(claims), list, served, session)).status, status)
    }
  })

  test('acts in the project that its claim names, and the trail tells whose it was and through which client', async () => {
    const { engine, caller } = fixture
    const tenant = await engine.projects.create(caller, { name: 'tenant' })
    const tenants = await serve([iss], 'berth_project')
    try {
      for (const word of ['tenant', tenant.id]) {
        const client = await connect(tenants.url ?? '', '2026-07-28', await issued({ sub: 'ann', client_id: 'editor', berth_project: word }))
        await client.callTool({ name: 'create-instance', arguments: { image: 'localhost/busybox', name: `box-${word.length}`, wait: false } })
        await client.close()
      }
      const there = { ...caller, projectId: tenant.id }
      assert.equal((await engine.instances.list(there)).length, 2)
      assert.equal((await engine.instances.list(caller)).length, 0)
      const lines = await engine.audit.list(there, { action: 'instance.create' })
      assert.deepEqual(lines.map(({ keyId, operation, details }) => [keyId, operation, details['subject'], details['client']]), [
        [null, 'create-instance', `${iss} ann`, 'editor'],
        [null, 'create-instance', `${iss} ann`, 'editor'],
      ])
      for (const [claims, says] of [[{}, /names no project: it must have the claim berth_project/], [{ berth_project: 7 }, /names no project/], [{ berth_project: 'nobody' }, /for a project that is not here/]] as const) {
        const answer = await ask(await issued(claims), undefined, tenants)
        assert.equal(answer.status, 401)
        assert.match(((await answer.json()) as { error: { message: string } }).error.message, says)
      }
    } finally {
      await tenants.close()
    }
  })

  test('for MCP alone opens no other surface', async () => {
    const { engine, caller } = fixture
    const authenticate = makeAuthenticate({ keys: engine.keys, project: caller.projectId, jwtSecret: SECRET, isForeign: claims => isOnlyFor(claims, RESOURCE) })
    await assert.rejects(authenticate(await own({ scope: undefined }), 'hypeman'), (error: unknown) => error instanceof BerthError && error.code === 'unauthenticated')
    assert.notEqual(await authenticate(await own({ scope: undefined, aud: 'hypeman' }), 'hypeman'), null)
    assert.equal(await authenticate(await own(), 'native'), null)
  })
})

describe('who asks where tokens are had', () => {
  test('is told it without one, at both places', async () => {
    const nobody = await ask(null)
    assert.deepEqual([nobody.status, nobody.headers.get('www-authenticate')], [401, `Bearer realm="berth", resource_metadata="${METADATA}", scope="read write exec"`])
    for (const path of ['/.well-known/oauth-protected-resource', '/.well-known/oauth-protected-resource/mcp']) {
      const answer = await fetch(new URL(path, served.url ?? ''))
      assert.deepEqual(await answer.json(), {
        resource: RESOURCE,
        resource_name: 'Berth',
        authorization_servers: [iss],
        scopes_supported: ['read', 'write', 'exec'],
        bearer_methods_supported: ['header'],
      })
    }
  })

  test('is told of keys where there is no authorization server', async () => {
    for (const path of ['/.well-known/oauth-protected-resource/mcp', '/.well-known/oauth-authorization-server', '/register']) {
      const answer = await fetch(new URL(path, plain.url ?? ''))
      assert.equal(answer.status, 404)
      assert.match(await answer.text(), /berth keys create/)
    }
    assert.equal((await ask(null, undefined, plain)).headers.get('www-authenticate'), 'Bearer realm="berth"')
  })
})

test('a key for MCP alone opens nothing else, and one for another surface does not open MCP', async () => {
  const { engine, caller } = fixture
  const made = await engine.keys.create(caller, { name: 'agent', scopes: ['read'], audience: ['mcp'] })
  const client = await connect(plain.url ?? '', '2025', made.secret)
  assert.equal(dataOf<{ count: number }>(await client.callTool({ name: 'list-instances', arguments: {} })).count, 0)
  await client.close()
  for (const surface of ['native', 'hypeman', 'koyeb', 'lambda', 'mithril']) {
    await assert.rejects(engine.keys.authenticate(made.secret, surface), /This key is for mcp alone, and not for/)
  }
  const other = await engine.keys.create(caller, { name: 'cli', scopes: ['read'], audience: ['native', 'hypeman'] })
  const answer = await ask(other.secret, undefined, plain)
  assert.equal(answer.status, 401)
  assert.match(await answer.text(), /This key is for native, hypeman alone, and not for mcp/)
  await assert.rejects(engine.keys.create(caller, { name: 'none', scopes: ['read'], audience: [] }), /at least one of/)
})
