/**
 * SSH into real VMs with OpenSSH's own ssh, scp and sftp: whatever an image holds, whoever holds a key of the
 * instance comes in on its own address, and nobody else does.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestServer } from './support/server.ts'
import { startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const SLEEPER = ['/bin/sh', '-c', "trap 'exit 0' TERM; while :; do sleep 1; done"]

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}
interface Instance {
  readonly id: string
  readonly phase: string
  readonly network: { readonly ip: string }
}

let server: TestServer
let scratch = ''
const made: string[] = []

/** Runs a program of OpenSSH's to its end. */
function run(program: string, args: readonly string[], input?: string | Buffer): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'pipe', timeout: WAIT_MS, env: { PATH: process.env['PATH'] ?? '', HOME: scratch } })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', code => resolve({ code, stdout, stderr }))
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}

function options(key = 'id'): readonly string[] {
  return ['-F', 'none', '-i', join(scratch, key), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=accept-new', '-o', `UserKnownHostsFile=${join(scratch, 'known_hosts')}`, '-o', 'ConnectTimeout=120']
}

const ssh = (ip: string, words: readonly string[], more: { readonly key?: string; readonly input?: string; readonly flags?: readonly string[] } = {}) =>
  run('ssh', [...options(more.key), ...(more.flags ?? []), `root@${ip}`, ...words], more.input)

async function launch(more: Readonly<Record<string, unknown>> = {}): Promise<Instance> {
  const body = { image: 'localhost/busybox', pull: 'missing', cmd: SLEEPER, sshKeys: [readFileSync(join(scratch, 'id.pub'), 'utf8').trim()], ...more }
  const answer = await server.request('POST', '/berth/v1/instances?wait=running&timeoutMs=300000', { body })
  assert.equal(answer.status, 201, answer.text)
  const instance = answer.body as Instance
  made.push(instance.id)
  assert.equal(instance.phase, 'running', answer.text)
  return instance
}

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sv-'))
  for (const key of ['id', 'other']) assert.equal((await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(scratch, key)])).code, 0)
  server = await startServer({ host: 'qemu' })
})
after(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true, force: true })
})

test('whoever holds the key runs commands, with their input, output and status', async () => {
  const { network } = await launch()
  const hello = await ssh(network.ip, ['echo hello; id -u; exit 7'])
  assert.deepEqual([hello.code, hello.stdout], [7, 'hello\n0\n'], hello.stderr)
})
