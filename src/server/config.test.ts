import assert from 'node:assert/strict'
import test from 'node:test'
import { BerthError } from '../instance/errors.ts'
import { parseListen, readConfig } from './config.ts'
import type { Flags } from './config.ts'

test('without any setting a newcomer gets the documented defaults', () => {
  const config = readConfig({})
  assert.deepEqual(config.listen, { host: '127.0.0.1', port: 8080 })
  assert.equal(config.host, 'qemu')
  assert.equal(config.accelerator, 'auto')
  assert.equal(config.adminKey, null)
  assert.equal(config.limits.vcpusPerInstance, 16)
  assert.equal(config.limits.memoryBytesPerInstance, 32 * 2 ** 30)
})

test('a flag wins over the environment, the environment over the default', () => {
  const env = { BERTH_LISTEN: '127.0.0.1:7001', BERTH_HOST: 'simulated' }
  assert.equal(readConfig(env).listen.port, 7001)
  assert.equal(readConfig(env, { listen: '7002' }).listen.port, 7002)
  assert.equal(readConfig(env).host, 'simulated')
})

test('the pool is warm, unstarted or not there', () => {
  const of = (BERTH_POOL: string) => readConfig({ BERTH_POOL })
  assert.deepEqual([of('yes').poolRehearses, of('yes').poolBytes], [true, 512 * 2 ** 20])
  assert.deepEqual([of('unstarted').poolRehearses, of('unstarted').poolBytes], [false, 512 * 2 ** 20])
  assert.equal(of('no').poolBytes, null)
  assert.throws(() => of('cold'), /BERTH_POOL is "cold": use yes, no or unstarted/)
})

test('an address to listen on has several spellings', () => {
  assert.deepEqual(parseListen('0.0.0.0:80'), { host: '0.0.0.0', port: 80 })
  assert.deepEqual(parseListen('[::1]:8080'), { host: '::1', port: 8080 })
  assert.deepEqual(parseListen(':8080'), { host: '0.0.0.0', port: 8080 })
  assert.deepEqual(parseListen('0'), { host: '127.0.0.1', port: 0 })
})

const BAD: readonly [Flags, RegExp][] = [
  [{ listen: 'localhost' }, /--listen is "localhost": write an address and a port/],
  [{ listen: '127.0.0.1:99999' }, /--listen/],
  [{ host: 'docker' }, /--host is "docker": use one of qemu, simulated/],
  [{ accelerator: 'xen' }, /--accel is "xen": use one of auto, kvm, tcg/],
  [{ adminKey: 'short' }, /--admin-key is "…": it has 5 characters/],
  [{ adminKey: 'with spaces in the key' }, /--admin-key is "…": it holds characters/],
  [{ jwtSecret: 'short' }, /--jwt-secret is "…": it has 5/],
  [{ subnet: '10.0.0.0' }, /--subnet/],
  [{ subnet: '10.0.0.300/16' }, /--subnet .* no IPv4 address/],
  [{ subnet: '10.0.0.0/29' }, /--subnet .* of 8 to 28 bits/],
  [{ dns: '1.1.1.1,none' }, /--dns/],
  [{ insecureRegistries: 'http://localhost:5000' }, /--insecure-registries .* without a scheme/],
  [{ overcommitCpu: '0' }, /--overcommit-cpu/],
  [{ maxVcpus: '1.5' }, /--max-vcpus/],
  [{ maxMemory: '32Gb' }, /--max-memory/],
  [{ databaseUrl: 'postgres://localhost/berth' }, /--database-url is "…": only SQLite/],
  [{ logLevel: 'loud' }, /--log-level is "loud": use one of trace/],
]
for (const [flags, message] of BAD) {
  test(`a bad value is one sentence that names it: ${JSON.stringify(flags)}`, () => {
    assert.throws(
      () => readConfig({}, flags),
      (error: unknown) => error instanceof BerthError && error.code === 'invalid_request' && message.test(error.message),
    )
  })
}
