/** OpenSSH's programs as a user of instances runs them, with keys and known hosts of the test's own; and small images. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findBusybox } from '../../src/host/images/built-in.ts'
import { tar, writeOciLayout } from '../registry-fixture.ts'
import type { TarEntry } from '../registry-fixture.ts'
import type { TestServer } from './server.ts'

/** Emulated CPUs on a busy machine are slow. */
const PROGRAM_LIMIT_MS = 300_000

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end. */
export async function run(program: string, args: readonly string[], options: { readonly input?: string | Buffer; readonly env?: Readonly<Record<string, string>> } = {}): Promise<Ended> {
  const child = spawn(program, args, { stdio: 'pipe', timeout: PROGRAM_LIMIT_MS, env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', TERM: 'xterm', ...options.env } })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  // A program may end without reading all that it is given.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

interface SshOptions {
  readonly key?: string
  readonly user?: string
  readonly input?: string | Buffer
  readonly flags?: readonly string[]
}

export class OpenSsh {
  readonly #dir: string

  /** `dir` takes its keys and known hosts; whoever made it removes it. */
  constructor(dir: string) {
    this.#dir = dir
  }

  async makeKey(name: string): Promise<void> {
    const made = await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(this.#dir, name)])
    assert.equal(made.code, 0, made.stderr)
  }

  publicKey(name: string): string {
    return readFileSync(join(this.#dir, `${name}.pub`), 'utf8').trim()
  }

  /** The words of a command line, program first. */
  command(program: 'ssh' | 'scp' | 'sftp', words: readonly string[], flags: readonly string[] = [], key = 'id'): readonly string[] {
    const settings = ['IdentitiesOnly=yes', 'BatchMode=yes', 'StrictHostKeyChecking=accept-new', 'LogLevel=ERROR', `UserKnownHostsFile=${join(this.#dir, 'known_hosts')}`, 'ConnectTimeout=120']
    // The first of two settings of the same name holds.
    return [program, '-F', 'none', '-i', join(this.#dir, key), ...flags, ...settings.flatMap(setting => ['-o', setting]), ...words]
  }

  spawnable(program: 'ssh' | 'scp' | 'sftp', words: readonly string[], flags: readonly string[] = []): [string, readonly string[]] {
    const [name = '', ...args] = this.command(program, words, flags)
    return [name, args]
  }

  async ssh(host: string, words: readonly string[], { key = 'id', user = 'root', input, flags = [] }: SshOptions = {}): Promise<Ended> {
    const [name = '', ...args] = this.command('ssh', [`${user}@${host}`, ...words], flags, key)
    return run(name, args, input === undefined ? {} : { input })
  }

  /** Runs one that must end well. */
  async done(program: 'scp' | 'sftp', words: readonly string[], flags: readonly string[] = []): Promise<Ended> {
    const ended = await run(...this.spawnable(program, words, flags))
    assert.equal(ended.code, 0, `${program} ${words.join(' ')}: ${ended.stderr}`)
    return ended
  }

  /** The key that a host was met with. */
  hostKey(host: string): string | null {
    const lines = readFileSync(join(this.#dir, 'known_hosts'), 'utf8').split('\n')
    return lines.find(line => line.startsWith(`${host} `))?.slice(host.length + 1) ?? null
  }
}

/** An image of just these files, imported under the name; with busybox and a link for each of its programs that tests use. */
export async function importTree(server: TestServer, name: string, { busybox }: { readonly busybox: boolean }, entries: readonly TarEntry[]): Promise<string> {
  const programs = busybox ? await busyboxEntries() : []
  const dir = mkdtempSync(join(tmpdir(), 'bi-'))
  try {
    await writeOciLayout(dir, { layers: [tar([...programs, ...entries])], config: { Cmd: ['/bin/sh'] } })
    const packed = join(dir, '..', `${dir.split('/').at(-1) ?? ''}.tar`)
    try {
      assert.equal((await run('tar', ['-C', dir, '-cf', packed, '.'])).code, 0)
      const answer = await server.request('POST', `/berth/v1/images/import?name=${encodeURIComponent(name)}`, {
        body: readFileSync(packed),
        headers: { 'content-type': 'application/x-tar' },
      })
      assert.equal(answer.status, 201, answer.text)
    } finally {
      rmSync(packed, { force: true })
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
  return name
}

async function busyboxEntries(): Promise<readonly TarEntry[]> {
  const { path } = await findBusybox(null)
  const programs = (await run(path, ['--list'])).stdout.split('\n').filter(word => /^[a-z0-9]+$/.test(word) && word !== 'busybox')
  return [
    { name: 'bin/', type: 'dir', mode: 0o755 },
    { name: 'bin/busybox', data: readFileSync(path), mode: 0o755 },
    ...programs.map(program => ({ name: `bin/${program}`, type: 'symlink' as const, link: 'busybox' })),
  ]
}
