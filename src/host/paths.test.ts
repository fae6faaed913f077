import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { BerthError } from '../instance/errors.ts'
import type { InstanceId } from '../instance/model.ts'
import { hostPaths, MAX_SOCKET_PATH_BYTES } from './paths.ts'

const ID = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11' as InstanceId

describe('hostPaths', () => {
  it('keeps sockets short whatever the data directory, and two data directories apart', () => {
    const one = hostPaths(`/var/lib/${'deep/'.repeat(100)}`, '/run/berth').instance(ID)
    const other = hostPaths('/var/lib/berth', '/run/berth').instance(ID)
    assert.ok(Buffer.byteLength(one.agentSocket) <= MAX_SOCKET_PATH_BYTES)
    assert.notEqual(one.runDir, other.runDir)
  })

  it('refuses a runtime directory that is too deep, and relative ones', () => {
    const refused: readonly (readonly [data: string, run: string])[] = [['/data', `/${'x'.repeat(80)}`], ['data', '/run'], ['/data', 'run']]
    for (const [data, run] of refused) {
      assert.throws(() => hostPaths(data, run), (error) => error instanceof BerthError && error.code === 'invalid_request')
    }
  })

  it('makes a path of nothing but a UUID', () => {
    const paths = hostPaths('/data', '/run')
    for (const id of ['', '..', '../../etc', `${ID}/..`, ID.toUpperCase()]) {
      assert.throws(() => paths.instance(id as InstanceId), BerthError)
      assert.equal(paths.instanceOf(id), null)
    }
    assert.equal(paths.instanceOf(ID), ID)
  })
})
