/** Script steps in Python: the same promises as of JavaScript (capability-scripts.test.ts), held by another sandbox. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { ScriptPool } from '../src/capability/script/pool.ts'
import { runDocument, scriptDocument } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'
import type { RecordingUpstream } from './support/recording-upstream.ts'

const KEY = 'a-key-that-scripts-may-be-given'
const EMPTY = '{"context":{},"names":{}}'
const pool = new ScriptPool()
after(() => pool.close())

/** What the script gives; a failure throws. */
const run = (text: string, { bindings = EMPTY, timeoutMs = 120_000, statementLimit = 100_000 } = {}) =>
  pool.run('shaped', { language: 'python', sources: [{ name: 'main.py', text }], bindings, timeoutMs, statementLimit }, null)

describe('a script in a document', () => {
  let upstream: RecordingUpstream
  let directory: string
  before(async () => {
    upstream = await startUpstream()
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"items":[{"n":3},{"n":5},{"n":4}]}')
    directory = mkdtempSync(join(tmpdir(), 'berth-python-'))
  })
  after(async () => {
    await upstream[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true })
  })

  test('sees steps, inputs and what with gives it, uses its dependencies, gives result, and leaves nothing to the next', { timeout: 300_000 }, async () => {
    mkdirSync(join(directory, 'lib'))
    writeFileSync(join(directory, 'lib/most.py'), 'def most(items):\n    return max(each["n"] for each in items)\n')
    writeFileSync(
      join(directory, 'main.py'),
      'import json, math, re, statistics\n' +
        'first = not hasattr(json, "left")\njson.left = True\n' +
        'same = context["fetch-data"] == fetch_data == fetchData\n' +
        'result = {"same": same, "first": first, "most": most(fetch_data["items"]), "kept": [each for each in fetch_data["items"] if each["n"] >= least], "word": word, "absent": absent, "mean": statistics.mean([1, 3])}\n',
    )
    const document = scriptDocument(`language: python, location: '${pathToFileURL(directory).href}', file: main.py, dependencies: [lib/most.py], with: { word: '{{KEY}}', absent: '{{nothing}}' }`)
    await using own = await runDocument(document, upstream.url, { env: { KEY } })
    for (let count = 0; count < 2; count += 1) {
      const answer = await own.get('/x?least=4')
      // The credential that it was handed is struck out of what it gives.
      assert.deepEqual(await answer.json(), { same: true, first: true, most: 5, kept: [{ n: 5 }, { n: 4 }], word: '***', absent: null, mean: 2 })
    }
  })
})

describe('a script has no way to the machine', { timeout: 300_000 }, () => {
  test('no file, process, environment, network or JavaScript of it is in reach', async () => {
    const server = createServer((socket) => socket.destroy())
    let connections = 0
    server.on('connection', () => (connections += 1))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const script = `
import os, sys, gc
found = []
def attempt(name, work):
    try:
        found.append([name, str(work())[:200]])
    except BaseException as error:
        pass
def module(name):
    sys.modules.pop(name, None)
    return __import__(name)
attempt('passwd', lambda: open('/etc/passwd').read())
attempt('own file', lambda: open(${JSON.stringify(import.meta.filename)}).read())
attempt('fork', lambda: os.fork())
attempt('popen', lambda: os.popen('id').read())
attempt('environ', lambda: os.environ['PATH'] if os.environ.get('PATH') != '/' else 1 / 0)
attempt('where Berth lies', lambda: [each for each in [*sys.argv, *os.environ.values()] if 'python-child' in each][0])
for name in ('js', 'pyodide_js'):
    attempt(name, lambda: module(name).process)
def by_code():
    core = module('_pyodide_core')
    return core.run_js('typeof process + globalThis.constructor.name')
attempt('run_js', by_code)
attempt('run_js of pyodide', lambda: module('pyodide.code').run_js('1 + 1'))
def proxies():
    for each in gc.get_objects():
        if type(each).__name__ == 'JsProxy':
            made = each.constructor.constructor('return 1')
            return made()
    raise ValueError()
attempt('constructor of proxies', proxies)
def mount():
    for each in gc.get_objects():
        if type(each).__name__ == 'JsProxy' and hasattr(each, 'mountNodeFS'):
            each.mountNodeFS('/mnt', '/etc')
            return open('/mnt/passwd').read()
    raise ValueError()
attempt('mounted', mount)
result = found
`
    const connect = `
import sys
sys.modules.pop('socket')
sys.modules.pop('_socket')
import socket
own = socket.socket()
own.settimeout(2)
own.connect(('127.0.0.1', ${port}))
own.send(b'x')
result = 'connected'
`
    try {
      assert.deepEqual(await run(script, { statementLimit: 10_000_000 }), [])
      // Told as an error of Python's, or as one of the walls behind it.
      for (const each of [connect, 'import os\nresult = 0 if os.system("true") else 1 / 0']) await assert.rejects(run(each, { statementLimit: 10_000_000 }), { code: 'script_failed' })
      assert.equal(connections, 0)
    } finally {
      server.close()
    }
  })
})

describe('a script that goes wrong', { timeout: 300_000 }, () => {
  const endless = { statementLimit: Number.MAX_SAFE_INTEGER, timeoutMs: 300 }
  for (const [what, text, options, code, message] of [
    ['throws', 'a = 1\nraise ValueError("no such thing")', {}, 'script_failed', /"shaped" failed: ValueError: no such thing \(line 2\)/],
    ['never ends', 'while True: pass', endless, 'script_timeout', /longer than 300 ms/],
    ['runs too many statements', 'while True: pass', {}, 'script_failed', /more than 100000 statements/],
    ['switches the counter off', 'import sys\nsys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, 0)\nwhile True: pass', {}, 'script_failed', /more than 100000 statements/],
    ['catches what ends it', 'while True:\n    try:\n        while True: pass\n    except BaseException: pass', { timeoutMs: 5000 }, /script_failed|script_timeout/, /statements|longer/],
    ['takes too much memory', 'all = []\nwhile True: all.append(bytearray(1 << 20))', {}, 'script_failed', /more than 128 MiB/],
    ['writes too much into files', 'for each in range(100):\n    with open(f"/tmp/{each}", "wb") as file: file.write(bytes(32 << 20))', {}, 'script_failed', /more than 128 MiB/],
    ['gives too much', 'result = "x" * (11 * 1024 * 1024)', {}, 'script_failed', /more than 10 MiB/],
    ['gives what is no JSON', 'result = {1, 2}', {}, 'script_failed', /no JSON/],
  ] as const) {
    test(`because it ${what} is told, and the next runs`, async () => {
      await assert.rejects(run(text, options), (error: unknown) => {
        const failure = error as { code: string; message: string }
        assert.match(failure.code, typeof code === 'string' ? new RegExp(`^${code}$`) : code)
        assert.match(failure.message, message)
        return true
      })
    })
  }

  test('whose process was ended while it waited for one gets another', async () => {
    assert.equal(await run('result = 1'), 1)
    const pid = await idleProcess()
    process.kill(pid, 'SIGKILL')
    while (isOurs(String(pid))) await setTimeout(20)
    assert.equal(await run('result = 2', { timeoutMs: 30_000 }), 2)
  })

  test('whose caller goes away is ended', async () => {
    const cancel = new AbortController()
    const under = pool.run('x', { language: 'python', sources: [{ name: 'x', text: 'while True: pass' }], bindings: EMPTY, timeoutMs: 600_000, statementLimit: Number.MAX_SAFE_INTEGER }, cancel.signal)
    cancel.abort()
    await assert.rejects(under, /cancelled/)
    assert.equal(await run('result = 1'), 1)
  })
})

/** The process that waits for a script: one of ours whose time on the CPU has stood still for a second. */
async function idleProcess(): Promise<number> {
  let last = ''
  for (;;) {
    await setTimeout(1000)
    const ours = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && isOurs(name) && textOf(name, 'cmdline').includes('python-child'))
    const [pid] = ours
    if (pid === undefined || ours.length > 1) continue
    const times = `${pid} ${textOf(pid, 'stat').split(') ')[1]?.split(' ').slice(11, 13).join(' ') ?? ''}`
    if (times === last) return Number(pid)
    last = times
  }
}

function isOurs(pid: string): boolean {
  return textOf(pid, 'status').includes(`PPid:\t${process.pid}\n`)
}

function textOf(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    // It has ended.
    return ''
  }
}
