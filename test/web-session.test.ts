/** What the server does for browsers: the dashboard's files and policy, and a session that counts for nobody else. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { WebSocket } from 'ws'
import { PREFIX } from './support/native-client.ts'
import { send, startServer } from './support/server.ts'
import type { RequestOptions, TestServer } from './support/server.ts'

const BUILT = fileURLToPath(new URL('../.berth/web', import.meta.url))
const INITIAL_LIMIT_BYTES = 350 * 1024
const OURS = { 'x-berth-session': '1', 'sec-fetch-site': 'same-origin' }

let server: TestServer
before(async () => {
  server = await startServer()
})
after(() => server.stop())

const ask = (method: string, path: string, options: RequestOptions = {}) => send(server.url, method, path, { key: null, ...options })

async function signIn(): Promise<string> {
  const answer = await ask('POST', `${PREFIX}/session`, { body: { key: server.key }, headers: OURS })
  assert.equal(answer.status, 201, answer.text)
  return answer.headers.get('set-cookie')?.split(';')[0] ?? ''
}

test('the page at / and every address of the dashboard is HTML under a policy without inline code, new each time', async () => {
  const nonces = new Set<string>()
  for (const path of ['/', '/ui/images', '/ui/instances/some-id/terminal']) {
    const { status, headers, text } = await ask('GET', path)
    assert.equal(status, 200)
    assert.match(headers.get('content-type') ?? '', /^text\/html/)
    assert.equal(headers.get('cache-control'), 'no-store')
    const policy = headers.get('content-security-policy') ?? ''
    assert.match(policy, /default-src 'none'; script-src 'self';/)
    assert.doesNotMatch(policy, /unsafe|https?:|\*/)
    const nonce = /'nonce-([\w-]+)'/.exec(policy)?.[1] ?? ''
    assert.ok(nonce.length >= 16 && text.includes(`nonce="${nonce}"`))
    assert.doesNotMatch(text, /<script(?![^>]*src=)|<style|style=|__BERTH/)
    nonces.add(nonce)
  }
  assert.equal(nonces.size, 3)
})

test('files are kept for ever and come packed as the browser takes them', async () => {
  const { text } = await ask('GET', '/')
  const script = /src="([^"]+\.js)"/.exec(text)?.[1] ?? ''
  for (const [accept, encoding] of [['br, gzip', 'br'], ['gzip', 'gzip'], ['identity', null]] as const) {
    const { status, headers } = await ask('GET', script, { headers: { 'accept-encoding': accept } })
    assert.equal(status, 200)
    assert.equal(headers.get('content-encoding'), encoding)
    assert.equal(headers.get('cache-control'), 'public, max-age=31536000, immutable')
    assert.match(headers.get('content-type') ?? '', /^text\/javascript/)
  }
  for (const path of ['/ui/assets/none.js', '/ui/../package.json', '/ui/%2e%2e/%2e%2e/package.json']) {
    assert.doesNotMatch((await ask('GET', path)).text, /"name": "berth"/)
  }
  assert.equal((await ask('GET', '/ui/assets/none.js')).status, 404)
})

test('no path of an API is the dashboard’s', async () => {
  for (const path of ['/instances', '/images', '/volumes', '/v1/instances', '/api/v1/instances', `${PREFIX}/instances`, '/nonsense']) {
    const { headers, status } = await ask('GET', path, { headers: { accept: 'text/html' } })
    assert.ok(status >= 400)
    assert.match(headers.get('content-type') ?? '', /json/, path)
  }
})

test('what is loaded at first is at most 350 KB of packed JavaScript', async () => {
  const { text } = await ask('GET', '/')
  const names = [...text.matchAll(/(?:src|href)="\/ui\/(assets\/[^"]+\.js)"/g)].map(match => match[1] ?? '')
  assert.ok(names.length > 0)
  const bytes = names.reduce((sum, name) => sum + gzipSync(readFileSync(`${BUILT}/${name}`), { level: 9 }).length, 0)
  assert.ok(bytes <= INITIAL_LIMIT_BYTES, `${bytes} bytes`)
  const built = readdirSync(`${BUILT}/assets`).filter(name => /\.(js|css)$/.test(name))
  for (const name of built) {
    const hosts = readFileSync(`${BUILT}/assets/${name}`, 'utf8').match(/(?:import\(|@import |url\()["']?https?:\/\/[^"') ]+/g)
    assert.equal(hosts, null, `${name} fetches from elsewhere`)
  }
})

test('a key is exchanged for a cookie that no script reads and no other site sends', async () => {
  const answer = await ask('POST', `${PREFIX}/session`, { body: { key: server.key }, headers: OURS })
  const cookie = answer.headers.get('set-cookie') ?? ''
  assert.match(cookie, /^berth-session-[0-9a-f]{8}=[\w-]{43}; Path=\/berth\/v1; HttpOnly; SameSite=Strict; Max-Age=\d+$/)
  assert.ok(!answer.text.includes(server.key) && !cookie.includes(server.key))
  const https = await ask('POST', `${PREFIX}/session`, { body: { key: server.key }, headers: { ...OURS, 'x-forwarded-proto': 'https' } })
  assert.match(https.headers.get('set-cookie') ?? '', /; Secure/)
  const wrong = await ask('POST', `${PREFIX}/session`, { body: { key: 'x'.repeat(64) }, headers: OURS })
  assert.equal(wrong.status, 401)
  assert.equal(wrong.headers.get('set-cookie'), null)
})

test('a session may what its key may, and ends when it is signed out', async () => {
  const cookie = await signIn()
  const me = await ask('GET', `${PREFIX}/whoami`, { headers: { cookie } })
  assert.equal(me.status, 200)
  const made = await ask('POST', `${PREFIX}/volumes`, { body: { name: 'from-a-browser', sizeBytes: 1048576 * 64 }, headers: { ...OURS, cookie } })
  assert.equal(made.status, 201, made.text)
  const out = await ask('DELETE', `${PREFIX}/session`, { headers: { ...OURS, cookie } })
  assert.equal(out.status, 204)
  assert.match(out.headers.get('set-cookie') ?? '', /Max-Age=0/)
  assert.equal((await ask('GET', `${PREFIX}/whoami`, { headers: { cookie } })).status, 401)
})

test('a session ends with its key', async () => {
  const made = await server.request('POST', `${PREFIX}/keys`, { body: { name: 'short-lived', scopes: ['read'] } })
  const { key, secret } = made.body as { key: { id: string }; secret: string }
  const answer = await ask('POST', `${PREFIX}/session`, { body: { key: secret }, headers: OURS })
  const cookie = answer.headers.get('set-cookie')?.split(';')[0] ?? ''
  assert.equal((await ask('GET', `${PREFIX}/instances`, { headers: { cookie } })).status, 200)
  assert.equal((await ask('POST', `${PREFIX}/volumes`, { body: { name: 'no', sizeBytes: 1048576 * 64 }, headers: { ...OURS, cookie } })).status, 403)
  await server.request('DELETE', `${PREFIX}/keys/${key.id}`)
  assert.equal((await ask('GET', `${PREFIX}/instances`, { headers: { cookie } })).status, 401)
})

test('what another site sends, or a form, is refused although the cookie is right', async () => {
  const cookie = await signIn()
  const wish = { body: { name: 'stolen', sizeBytes: 1048576 * 64 } }
  const cases: readonly (readonly [string, string, Record<string, string>])[] = [
    ['POST', '/volumes', {}],
    ['POST', '/volumes', { 'x-berth-session': '1', origin: 'https://evil.example' }],
    ['POST', '/volumes', { 'x-berth-session': '1', origin: 'null' }],
    ['POST', '/volumes', { 'x-berth-session': '1', origin: server.url.replace(/\d+$/, '1') }],
    ['POST', '/volumes', { 'x-berth-session': '1', 'sec-fetch-site': 'cross-site' }],
    ['POST', '/volumes', { 'x-berth-session': '1', 'sec-fetch-site': 'same-site' }],
    ['GET', '/instances', { 'sec-fetch-site': 'cross-site' }],
    ['GET', '/instances', { origin: 'https://evil.example' }],
  ]
  for (const [method, path, headers] of cases) {
    const answer = await ask(method, `${PREFIX}${path}`, { ...(method === 'GET' ? {} : wish), headers: { ...headers, cookie } })
    assert.equal(answer.status, 403, `${method} ${JSON.stringify(headers)}: ${answer.text}`)
    assert.equal((answer.body as { error: { code: string } }).error.code, 'forbidden')
  }
  const login = await ask('POST', `${PREFIX}/session`, { body: { key: server.key }, headers: { origin: 'https://evil.example', 'x-berth-session': '1' } })
  assert.equal(login.status, 403, 'nobody signs a visitor in from elsewhere')
})

test('the cookie opens no other dialect', async () => {
  const cookie = await signIn()
  for (const path of ['/instances', '/v1/instances', '/api/v1/instances']) {
    assert.equal((await ask('GET', path, { headers: { ...OURS, cookie } })).status, 401, path)
  }
})

test('a wrong Authorization header is not made good by a cookie', async () => {
  const cookie = await signIn()
  const answer = await ask('GET', `${PREFIX}/whoami`, { key: 'x'.repeat(64), headers: { ...OURS, cookie } })
  assert.equal(answer.status, 401)
})

test('a WebSocket opens by cookie from this origin only', async () => {
  const cookie = await signIn()
  const made = await server.request('POST', `${PREFIX}/instances?wait=running`, { body: { name: 'shell', image: 'localhost/busybox' } })
  assert.equal(made.status, 201, made.text)
  const url = `${server.url.replace('http', 'ws')}${PREFIX}/instances/shell/exec`
  for (const origin of [undefined, 'https://evil.example']) {
    const refused = new WebSocket(url, { headers: { cookie, ...(origin === undefined ? {} : { origin }) } })
    // It is told below.
    refused.on('error', () => undefined)
    const [, response] = (await once(refused, 'unexpected-response')) as [unknown, { statusCode: number }]
    assert.equal(response.statusCode, 403)
    refused.terminate()
  }
  const socket = new WebSocket(url, { headers: { cookie, origin: server.url } })
  await once(socket, 'open')
  socket.send(JSON.stringify({ type: 'start', command: ['echo', 'hello'] }))
  const [started] = (await once(socket, 'message')) as [Buffer]
  assert.equal((JSON.parse(started.toString()) as { type: string }).type, 'started')
  socket.close()
})

test('ten wrong keys within a minute are enough', async () => {
  const statuses: number[] = []
  for (let count = 0; count < 12; count++) {
    statuses.push((await ask('POST', `${PREFIX}/session`, { body: { key: `wrong-${count}` }, headers: OURS })).status)
  }
  assert.ok(statuses.includes(429) && statuses.at(-1) === 429, statuses.join())
})
