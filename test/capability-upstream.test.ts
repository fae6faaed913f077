/** The rules S10 to S13 and those of commands: what passes between callers and upstream, its failures, times and limits. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, afterEach, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { runDocument } from './support/capability.ts'
import { CATALOGUE, errorOf, startCatalogue, TOKEN } from './support/catalogue-capability.ts'
import type { CatalogueLab } from './support/catalogue-capability.ts'
import { freePort } from './support/free-port.ts'
import { base64 } from './support/recording-upstream.ts'

let lab: CatalogueLab
before(async () => {
  lab = await startCatalogue()
})
after(() => lab[Symbol.asyncDispose]())
afterEach(() => lab.reset())

describe('S10: errors of the upstream', () => {
  test('a JSON error is mirrored, over MCP as isError with the same document', async () => {
    lab.replyWith(404, '{"status":404,"code":"not_found","message":"No such thing"}')
    const answer = await lab.running.get('/v1/v1/things/x')
    assert.equal(answer.status, 404)
    assert.deepEqual(await answer.json(), { status: 404, code: 'not_found', message: 'No such thing' })
    const result = await lab.call('get-thing', { id: 'x' })
    assert.equal(result.isError, true)
    assert.equal(errorOf(result).message, 'No such thing')
  })
  for (const status of [401, 403]) {
    test(`a ${status} to our own key is a 502 upstream_auth`, async () => {
      lab.replyWith(status, '{}')
      const answer = await lab.running.get('/v1/v1/things')
      assert.equal(answer.status, 502)
      assert.equal(((await answer.json()) as { code: string }).code, 'upstream_auth')
    })
  }
  test('an error that is not JSON is wrapped', async () => {
    lab.replyWith(503, '<html><b>Down</b> for now</html>', { 'content-type': 'text/html' })
    const answer = await lab.running.get('/v1/v1/things')
    assert.equal(answer.status, 503)
    const body = (await answer.json()) as { code: string; message: string }
    assert.equal(body.code, 'upstream_error')
    assert.match(body.message, /503: Down for now$/)
  })
  test('an answer that is not what its format says is a 502', async () => {
    lab.replyWith(200, 'not json')
    assert.equal((await lab.running.get('/v1/v1/things')).status, 502)
  })
  test('an exec that is refused says why', async () => {
    lab.upstream.exec = () => [{ error: { code: 9, message: 'failed_precondition', details: [{ message: 'Instance is not running' }] } }]
    const answer = await lab.running.get('/v1/v1/exec?id=i&body.command=ls')
    assert.equal(answer.status, 409)
    assert.match(((await answer.json()) as { message: string }).message, /Instance is not running/)
    const result = await lab.call('exec', { id: 'i', command: ['ls'] })
    assert.equal(result.isError, true)
    assert.equal(errorOf(result).code, 'invalid_state')
  })
})

describe('S11: networks', () => {
  test('an upstream that is not there is a 502 upstream_unreachable', async () => {
    const port = await freePort()
    await using nowhere = await runDocument(CATALOGUE, `http://127.0.0.1:${port}`, { env: { THINGS_KEY: TOKEN } })
    const answer = await nowhere.get('/v1/v1/things')
    assert.equal(answer.status, 502)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_unreachable')
    const exec = await nowhere.get('/v1/v1/exec?id=i&body.command=ls')
    assert.equal(exec.status, 502)
  })
  test('an upstream that does not answer is a 504 upstream_timeout, asked once', async () => {
    lab.upstream.answer = () => undefined
    const answer = await lab.running.get('/v1/v1/things')
    assert.equal(answer.status, 504)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_timeout')
    assert.equal(lab.upstream.requests.length, 1)
  })
  test('a GET that could not connect is tried once more; one that was sent is not', async () => {
    let connections = 0
    const flaky = createServer((socket) => {
      connections += 1
      socket.on('error', () => undefined)
      // Over https this is in the middle of the handshake, over http after the request.
      socket.once('data', () => socket.destroy())
    })
    await new Promise<void>((resolve) => flaky.listen(0, '127.0.0.1', resolve))
    const { port } = flaky.address() as AddressInfo
    try {
      for (const [scheme, wanted] of [['https', 2], ['http', 1]] as const) {
        connections = 0
        await using broken = await runDocument(CATALOGUE, `${scheme}://127.0.0.1:${port}`, { env: { THINGS_KEY: TOKEN } })
        assert.equal((await broken.get('/v1/v1/things')).status, 502)
        assert.equal(connections, wanted, scheme)
      }
    } finally {
      await new Promise((resolve) => flaky.close(resolve))
    }
  })
  test('an exec past its time is ended, with what it wrote', async () => {
    lab.upstream.exec = () => null
    const began = Date.now()
    const pending = lab.running.get('/v1/v1/exec', { method: 'POST', body: JSON.stringify({ id: 'i', command: ['sleep', '60'], timeout_ms: 300 }) })
    const answer = await pending
    assert.equal(answer.status, 200)
    const body = (await answer.json()) as { timed_out: boolean; exit_code: null }
    assert.equal(body.timed_out, true)
    assert.equal(body.exit_code, null)
    assert.ok(Date.now() - began >= 300)
    assert.equal(await lab.upstream.execs[0]?.closed, 1000)
  })
  test('a caller that goes away ends its exec', async () => {
    lab.upstream.exec = () => null
    const abort = new AbortController()
    const pending = lab.running.get('/v1/v1/exec?id=i&body.command=sleep', { signal: abort.signal })
    while (lab.upstream.execs[0]?.frames.length !== 2) await new Promise((resolve) => setTimeout(resolve, 10))
    abort.abort()
    await assert.rejects(pending)
    assert.equal(typeof (await lab.upstream.execs[0]?.closed), 'number')
  })
})

describe('S12: the REST surface', () => {
  test('a wrong method is a 405 with Allow, an unknown path a 404, both in JSON', async () => {
    const wrong = await lab.running.get('/v1/v1/things', { method: 'DELETE' })
    assert.equal(wrong.status, 405)
    assert.equal(wrong.headers.get('allow'), 'GET, HEAD')
    assert.equal(((await wrong.json()) as { code: string }).code, 'method_not_allowed')
    assert.equal((await lab.running.get('/v1/v1/exec', { method: 'DELETE' })).headers.get('allow'), 'GET, POST')
    const unknown = await lab.running.get('/nowhere')
    assert.equal(unknown.status, 404)
    assert.equal(((await unknown.json()) as { code: string }).code, 'not_found')
  })
  test('nothing is to be stored', async () => {
    for (const path of ['/v1/v1/things', '/nowhere', '/v1/v1/exec']) assert.equal((await lab.running.get(path)).headers.get('cache-control'), 'no-store')
  })
  test('the published paths stay, and have an alias without the doubled version', async () => {
    for (const path of ['/v1/v1/things/t', '/v1/things/t']) {
      assert.equal((await lab.running.get(path)).status, 200)
      assert.equal(lab.asked().path, '/things/t')
    }
  })
  test('pages of other origins, rebound names, links and prefetches are refused', async () => {
    assert.equal((await lab.running.get('/v1/v1/things', { headers: { origin: 'http://evil.example' } })).status, 403)
    for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-purpose': 'prefetch' }] as Record<string, string>[]) {
      assert.equal((await lab.running.get('/v1/v1/exec?id=i&body.command=ls', { headers })).status, 403)
    }
    assert.equal(lab.upstream.execs.length, 0)
    const { request } = await import('node:http')
    for (const target of [lab.running.rest + '/v1/v1/things', lab.running.mcp]) {
      const status = await new Promise((resolve) => request(target, { headers: { host: 'evil.example' } }, (response) => resolve(response.resume().statusCode)).end())
      assert.equal(status, 403)
    }
  })
})

describe('S13: limits and headers', () => {
  test('an answer past 10 MiB is cut off, one of 10 MiB is not', async () => {
    const body = (bytes: number): string => `"${'x'.repeat(bytes - 2)}"`
    lab.replyWith(200, body(10 * 1024 * 1024))
    assert.equal((await lab.running.get('/v1/v1/things/x/parts/y')).status, 200)
    lab.replyWith(200, body(10 * 1024 * 1024 + 1))
    const answer = await lab.running.get('/v1/v1/things/x/parts/y')
    assert.equal(answer.status, 502)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_too_large')
  })
  test('Accept is JSON; the credentials, cookies and hop-by-hop headers of callers go no further', async () => {
    await lab.running.get('/v1/v1/things', { headers: { authorization: 'Bearer of-the-caller', cookie: 'a=b', te: 'trailers', 'x-other': '1' } })
    const { headers } = lab.asked()
    assert.equal(headers.accept, 'application/json')
    assert.equal(headers.authorization, `Bearer ${TOKEN}`)
    for (const name of ['cookie', 'te', 'x-other']) assert.equal(headers[name], undefined, name)
  })
  test('redirects are not followed', async () => {
    lab.replyWith(302, '', { location: 'http://evil.example/' })
    const answer = await lab.running.get('/v1/v1/things')
    assert.equal(answer.status, 502)
    assert.equal(lab.upstream.requests.length, 1)
  })
  test('output of an exec is kept up to its limit, and what is no text is base64', async () => {
    const out = (data: string): unknown => ({ result: { stdout: { data }, stderr: null, exited: false, exit_code: 0 } })
    const exited = { result: { stdout: null, stderr: null, exited: true, exit_code: 0 } }
    lab.upstream.exec = () => [out(base64('äääää')), exited]
    const cut = await lab.call('exec', { id: 'i', command: ['x'], max_output_bytes: 5 })
    const { stdout, truncated } = cut.structuredContent as { stdout: string; truncated: { stdout: boolean } }
    assert.equal(stdout, 'ää')
    assert.equal(truncated.stdout, true)
    lab.upstream.exec = () => [out(Buffer.from([0xff, 0xfe, 0]).toString('base64')), exited]
    const binary = (await lab.call('exec', { id: 'i', command: ['x'] })).structuredContent as { stdout: string; encoding: string }
    assert.equal(binary.encoding, 'base64')
    assert.equal(binary.stdout, '//4A')
  })
})

describe('exec over MCP', () => {
  const result = (stdout: string | null, exited = false): unknown => ({ result: { stdout: stdout === null ? null : { data: base64(stdout) }, stderr: null, exited, exit_code: 0 } })
  test('whoever asks for progress is told bytes and the last line, without control characters', async () => {
    lab.upstream.exec = () => [result('one\ntwo\u001b[31m\n'), result(null, true)]
    const told: { progress: number; message?: string | undefined }[] = []
    await lab.client.callTool({ name: 'exec', arguments: { id: 'i', command: ['x'] } }, { onprogress: (each) => void told.push(each) })
    assert.deepEqual(told.map(({ progress, message }) => ({ progress, message })), [{ progress: 13, message: 'two [31m' }])
  })
  for (const era of ['2026-07-28', 'legacy'] as const) {
    test(`a caller of ${era} that cancels, or goes away, ends the command`, async () => {
      lab.upstream.exec = () => null
      const left = new AbortController()
      const transport = new StreamableHTTPClientTransport(new URL(lab.running.mcp), { fetch: (url, init) => fetch(url, { ...init, signal: AbortSignal.any([left.signal, ...(init?.signal ? [init.signal] : [])]) }) })
      const caller = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: era === 'legacy' ? 'legacy' : { pin: era } } })
      await caller.connect(transport)
      const start = (signal: AbortSignal) => {
        const pending = caller.callTool({ name: 'exec', arguments: { id: 'i', command: ['sleep', '60'] } }, { signal })
        pending.catch(() => undefined)
        return pending
      }
      const isRun = async (at: number) => {
        while (lab.upstream.execs[at]?.frames.length !== 2) await new Promise((resolve) => setTimeout(resolve, 10))
      }
      try {
        const abort = new AbortController()
        const pending = start(abort.signal)
        await isRun(0)
        abort.abort()
        await assert.rejects(pending)
        assert.equal(typeof (await lab.upstream.execs[0]?.closed), 'number')
        void start(new AbortController().signal)
        await isRun(1)
        left.abort()
        assert.equal(typeof (await lab.upstream.execs[1]?.closed), 'number')
      } finally {
        await caller.close()
      }
    })
  }
  test('a session of the older era is found by its id alone, and who has none is served without one', async () => {
    const post = (body: object, headers: Record<string, string> = {}) =>
      fetch(lab.running.mcp, { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }) })
    const opened = await post({ method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 't', version: '1' } } })
    await opened.text()
    const id = opened.headers.get('mcp-session-id') ?? ''
    assert.match(id, /^[0-9a-f-]{36}$/)
    const list = { method: 'tools/list', params: {} }
    for (const headers of [{ 'mcp-session-id': id }, {}] as Record<string, string>[]) {
      const answer = await post(list, headers)
      assert.equal(answer.status, 200)
      assert.match(await answer.text(), /"get-thing"/)
    }
    const gone = async (init: RequestInit) => (await fetch(lab.running.mcp, init)).status
    assert.equal((await post(list, { 'mcp-session-id': 'nobody' })).status, 404)
    assert.equal(await gone({}), 405)
    assert.equal(await gone({ method: 'DELETE', headers: { 'mcp-session-id': id } }), 200)
    assert.equal((await post(list, { 'mcp-session-id': id })).status, 404)
  })
  test('stdin goes as base64 frames, a terminal as its size', async () => {
    const answer = await lab.call('exec', { id: 'i', command: ['cat'], stdin: 'x'.repeat(40_000), tty: true, tty_size: { height: 10, width: 20 } })
    assert.notEqual(answer.isError, true)
    const frames = lab.upstream.execs[0]?.frames as { body: { tty_size?: unknown; disableTty?: boolean; stdin?: { data?: string; close?: boolean } } }[]
    assert.deepEqual([frames[0]?.body.disableTty, frames[0]?.body.tty_size], [false, { height: 10, width: 20 }])
    const sent = Buffer.concat(frames.flatMap(({ body }) => (body.stdin?.data === undefined ? [] : [Buffer.from(body.stdin.data, 'base64')])))
    assert.equal(sent.length, 40_000)
    const audit = lab.running.log.map((line) => JSON.parse(line) as Record<string, unknown>).findLast((each) => each['event'] === 'exec')
    assert.deepEqual([audit?.['instance'], audit?.['command'], audit?.['exitCode']], ['i', '["cat"]', 3])
    assert.ok(!lab.running.log.some((line) => line.includes('xxx')))
    assert.equal(frames.at(-1)?.body.stdin?.close, true)
  })
  test('limits are held at their edge and refused one past it', async () => {
    for (const [args, isError] of [
      [{ timeout_ms: 100 }, false],
      [{ timeout_ms: 99 }, true],
      [{ timeout_ms: 600_001 }, true],
      [{ max_output_bytes: 1_048_577 }, true],
      [{ command: [] }, true],
      [{ command: Array.from({ length: 257 }, () => 'x') }, true],
      [{ command: [1] }, true],
      [{ stdin: '%', stdin_encoding: 'base64' }, true],
      [{ id_type: 'OTHER' }, true],
      [{ id: '..' }, true],
    ] as [Record<string, unknown>, boolean][]) {
      const answer = await lab.call('exec', { id: 'i', command: ['x'], ...args })
      assert.equal(answer.isError === true, isError, JSON.stringify([args, answer.content]))
    }
    assert.equal(lab.upstream.execs.length, 1)
  })
})
