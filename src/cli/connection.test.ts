import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { findConnection, findMcp } from './connection.ts'

const home = mkdtempSync(join(tmpdir(), 'berth-connection-'))
after(() => rmSync(home, { recursive: true }))
const data = join(home, 'data')
const config = join(home, 'config')
mkdirSync(data)
mkdirSync(join(config, 'berth'), { recursive: true })
writeFileSync(join(data, 'admin.key'), 'local-admin\n')
writeFileSync(join(data, 'server.json'), JSON.stringify({ pid: 1, url: 'http://127.0.0.1:4321' }))
const local = { BERTH_DATA_DIR: data, XDG_CONFIG_HOME: join(home, 'none') }
const filed = { BERTH_DATA_DIR: data, XDG_CONFIG_HOME: config }
writeFileSync(join(config, 'berth', 'config.json'), JSON.stringify({ server: 'https://berth.example', key: 'filed' }))

const CASES: readonly (readonly [string, object, NodeJS.ProcessEnv, string, string | null])[] = [
  ['the local server and its key are the default', {}, local, 'http://127.0.0.1:4321', 'local-admin'],
  ['without anything it is the well-known address', {}, { BERTH_DATA_DIR: join(home, 'none') , XDG_CONFIG_HOME: home }, 'http://127.0.0.1:8080', null],
  ['the config file comes before the local server', {}, filed, 'https://berth.example', 'filed'],
  ['the environment comes before the files', {}, { ...filed, BERTH_SERVER: 'h:1', BERTH_KEY: 'k' }, 'http://h:1', 'k'],
  ['BERTH_ADMIN_KEY stands in for BERTH_KEY', {}, { ...local, BERTH_ADMIN_KEY: 'a' }, 'http://127.0.0.1:4321', 'a'],
  ['flags come first', { server: 'http://flag:2', key: 'f' }, { ...filed, BERTH_SERVER: 'h:1', BERTH_KEY: 'k' }, 'http://flag:2', 'f'],
  ["the local administrator's key is not sent to another machine", { server: 'http://elsewhere:8080' }, local, 'http://elsewhere:8080', null],
  ['nor to a name that only looks local', { server: 'http://127.evil.example' }, local, 'http://127.evil.example', null],
  ["the config file's key is not sent to another server", { server: 'https://other.example' }, filed, 'https://other.example', null],
  ["the config file's key is sent to its server however it is named", { server: 'https://berth.example/' }, filed, 'https://berth.example', 'filed'],
]
for (const [name, flags, env, server, key] of CASES) {
  test(name, () => {
    const found = findConnection(flags, env)
    assert.deepEqual([found.server.origin, found.key], [server, key])
  })
}

test('an address that is none is a usage error', () => {
  assert.throws(() => findConnection({ server: 'ftp://x' }, local), { status: 2 })
})

function serving(name: string, file: object): NodeJS.ProcessEnv {
  const dir = join(home, name)
  mkdirSync(dir)
  writeFileSync(join(dir, 'admin.key'), 'local-admin')
  writeFileSync(join(dir, 'server.json'), JSON.stringify(file))
  return { BERTH_DATA_DIR: dir, XDG_CONFIG_HOME: join(home, 'none') }
}
const withMcp = serving('with-mcp', { pid: 1, url: 'http://127.0.0.1:4321', mcpUrl: 'http://127.0.0.1:4322/mcp' })
const withoutMcp = serving('without-mcp', { pid: 1, url: 'http://127.0.0.1:4321', mcpUrl: null })

const MCP_CASES: readonly (readonly [string, object, NodeJS.ProcessEnv, string, string | null])[] = [
  ['MCP is where the local server says', {}, withMcp, 'http://127.0.0.1:4322/mcp', 'local-admin'],
  ['a server that says nothing of MCP has it at the usual port', {}, local, 'http://127.0.0.1:9090/mcp', 'local-admin'],
  ['another server has it at the usual port', { server: 'https://berth.example', key: 'k' }, withMcp, 'https://berth.example:9090/mcp', 'k'],
  ['an address comes first', { url: 'http://127.0.0.1:5000' }, { ...withMcp, BERTH_MCP_URL: 'http://h:1/x' }, 'http://127.0.0.1:5000/mcp', 'local-admin'],
  ['the environment may name it', {}, { ...withMcp, BERTH_MCP_URL: 'https://h:1/x' }, 'https://h:1/x', null],
]
for (const [name, flags, env, url, key] of MCP_CASES) {
  test(name, () => {
    const found = findMcp(flags, env)
    assert.deepEqual([found.url.href, found.key], [url, key])
  })
}

test('a local server without MCP is told so', () => {
  assert.throws(() => findMcp({}, withoutMcp), /serves no MCP: start it with --mcp-listen/)
})
