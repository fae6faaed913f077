import assert from 'node:assert/strict'
import test from 'node:test'
import { SignJWT } from 'jose'
import type { Keys } from '../engine/api.ts'
import { BerthError } from '../instance/errors.ts'
import type { KeyId, ProjectId } from '../instance/model.ts'
import { makeAuthenticate } from './authenticate.ts'

const SECRET = 'a secret that is long enough for tests'
const PROJECT = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11' as ProjectId
const KEY = 'K'.repeat(64)

const keys: Keys = {
  create: () => Promise.reject(new Error('not asked for')),
  list: () => Promise.reject(new Error('not asked for')),
  delete: () => Promise.reject(new Error('not asked for')),
  authenticate: (secret, via) =>
    Promise.resolve(secret === KEY ? { projectId: PROJECT, keyId: 'k' as KeyId, scopes: ['read'], via } : null),
}
const authenticate = makeAuthenticate({ keys, project: PROJECT, jwtSecret: SECRET })

function token(claims: Record<string, unknown>, algorithm = 'HS256', secret = SECRET): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: algorithm }).sign(new TextEncoder().encode(secret))
}

test('an API key is who the engine says it is, and another text is nobody', async () => {
  assert.deepEqual((await authenticate(KEY, 'native'))?.scopes, ['read'])
  assert.equal(await authenticate('nobody', 'native'), null)
  assert.equal(await authenticate('x'.repeat(9000), 'native'), null)
})

for (const algorithm of ['HS256', 'HS384', 'HS512']) {
  test(`a token of ${algorithm} without claims may do all but administer`, async () => {
    const identity = await authenticate(await token({ sub: 'someone' }, algorithm), 'hypeman')
    assert.deepEqual(identity?.scopes, ['read', 'write', 'exec'])
    assert.equal(identity?.permissions, null)
    assert.equal(identity?.projectId, PROJECT)
  })
}

test('tokens are for the surface whose clients send them', async () => {
  assert.equal(await authenticate(await token({}), 'native'), null)
})

test('a token without a secret to check it with is nobody', async () => {
  const without = makeAuthenticate({ keys, project: PROJECT, jwtSecret: null })
  assert.equal(await without(await token({}), 'hypeman'), null)
})

const NOW_S = Math.floor(Date.now() / 1000)
const REFUSED: readonly [string, Record<string, unknown>, RegExp][] = [
  ['one that has expired', { exp: NOW_S - 10 }, /^invalid token: it has expired$/],
  ['one that is not valid yet', { nbf: NOW_S + 1000 }, /^invalid token$/],
  ['one of a registry, by repos', { repos: ['a'] }, /^invalid token type$/],
  ['one of a registry, by scope', { scope: 'push' }, /^invalid token type$/],
  ['one of a build', { build_id: 'b' }, /^invalid token type$/],
  ['one of a builder', { sub: 'builder-1' }, /^invalid token type$/],
  ['one whose permissions are no list', { permissions: 'instance:read' }, /^invalid token: permissions/],
]
for (const [what, claims, message] of REFUSED) {
  test(`a token is refused with the reason: ${what}`, async () => {
    await assert.rejects(
      authenticate(await token(claims), 'hypeman'),
      (error: unknown) => error instanceof BerthError && error.code === 'unauthenticated' && message.test(error.message),
    )
  })
}

test('a token signed with another secret, or not at all, is refused', async () => {
  const foreign = await token({}, 'HS256', 'another secret that is long enough')
  await assert.rejects(authenticate(foreign, 'hypeman'), BerthError)
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  await assert.rejects(authenticate(`${part({ alg: 'none' })}.${part({})}.`, 'hypeman'), BerthError)
})

const NARROWED: readonly [readonly string[], readonly string[]][] = [
  [[], []],
  [['instance:read'], ['read']],
  [['image:write'], ['read', 'write']],
  [['instance:write'], ['read', 'write', 'exec']],
  [['instance:delete'], ['read', 'write']],
  [['*'], ['read', 'write', 'exec']],
]
for (const [permissions, scopes] of NARROWED) {
  test(`permissions [${permissions.join(', ')}] narrow a token to the scopes [${scopes.join(', ')}]`, async () => {
    const identity = await authenticate(await token({ permissions }), 'hypeman')
    assert.deepEqual(identity?.scopes, scopes)
    assert.deepEqual(identity?.permissions, permissions)
  })
}
