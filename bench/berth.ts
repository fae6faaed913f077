/** The figures of Berth itself, through its API, as a user would see them. */
import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { exec, openExec } from '../test/support/exec-socket.ts'
import { eventually, startServer, type TestServer } from '../test/support/server.ts'
import { figureOf, timed, type Figure } from './figure.ts'

export const IMAGE = 'localhost/busybox'
const SLEEP = ['sleep', '1000000']
const THROUGHPUT_BYTES = 256 * 1024 * 1024
const QUICK_THROUGHPUT_BYTES = 32 * 1024 * 1024
const BURST = 50

/** A server with the built-in image, and a template where it makes them. */
export async function openBench(env: Readonly<Record<string, string>> = {}): Promise<TestServer> {
  const server = await startServer({ host: 'qemu', env: { BERTH_OVERCOMMIT_CPU: '100', BERTH_OVERCOMMIT_MEMORY: '4', ...env } })
  await eventually('the image', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: IMAGE } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
  return server
}

export async function untilTemplates(server: TestServer, count: number): Promise<void> {
  await eventually('templates', async () => (server.output().split('a template is ready').length > count ? true : null), 120_000)
}

/** Launches one of a size, and waits until the next will be a clone. */
export async function firstOf(server: TestServer, size: string): Promise<void> {
  const made = server.output().split('a template is ready').length
  await create(server, { name: 'first', size })
  await remove(server, 'first')
  await untilTemplates(server, made)
}

/** From the request that creates an instance to the first output of a command in it. */
export async function launch(server: TestServer, samples: number): Promise<Figure> {
  const times: number[] = []
  for (let round = 0; round < samples; round += 1) {
    const name = `launch-${round}`
    times.push(await timed(async () => {
      await create(server, { name })
      await says(server, name, ['echo', 'up'], 'up')
    }))
    await remove(server, name)
  }
  return figureOf('ms', times)
}

export async function execFigures(server: TestServer, samples: number, isQuick: boolean): Promise<Readonly<Record<string, Figure>>> {
  const bytes = isQuick ? QUICK_THROUGHPUT_BYTES : THROUGHPUT_BYTES
  await create(server, { name: 'execs' })
  try {
    const trues: number[] = []
    for (let round = 0; round < samples + 3; round += 1) {
      const ms = await timed(() => says(server, 'execs', ['true'], ''))
      // A VM's first commands fill its caches.
      if (round >= 3) trues.push(ms)
    }
    const out: number[] = []
    const into: number[] = []
    for (let round = 0; round < 3; round += 1) {
      out.push(bytes / 1e6 / ((await timed(() => readOut(server, bytes))) / 1000))
      into.push(bytes / 1e6 / ((await timed(() => writeIn(server, bytes))) / 1000))
    }
    return { exec_true: figureOf('ms', trues), exec_out: figureOf('MB/s', out), exec_in: figureOf('MB/s', into) }
  } finally {
    await remove(server, 'execs')
  }
}

/** Standby until it answers that it sleeps, and restore until a command has said something. */
export async function standby(server: TestServer, size: string, samples: number): Promise<{ readonly standby: Figure; readonly restore: Figure }> {
  const name = `sleeper-${size.toLowerCase()}`
  await create(server, { name, size })
  const down: number[] = []
  const up: number[] = []
  try {
    await says(server, name, ['echo', 'up'], 'up')
    for (let round = 0; round < samples; round += 1) {
      down.push(await timed(() => must(server, 'POST', `/instances/${name}/standby`)))
      up.push(await timed(async () => {
        await must(server, 'POST', `/instances/${name}/restore`)
        await says(server, name, ['echo', 'back'], 'back')
      }))
    }
  } finally {
    await remove(server, name)
  }
  return { standby: figureOf('ms', down), restore: figureOf('ms', up) }
}

/** Fifty at once, until each runs. */
export async function burst(server: TestServer): Promise<Figure> {
  const names = Array.from({ length: BURST }, (_, index) => `burst-${index}`)
  try {
    return figureOf('ms', [await timed(() => Promise.all(names.map((name) => create(server, { name, size: '128MB' }))))])
  } finally {
    await Promise.allSettled(names.map((name) => remove(server, name)))
  }
}

/** Memory that each idle VM of 256 MB has for itself. */
export async function density(server: TestServer, count: number): Promise<Figure> {
  const names = Array.from({ length: count }, (_, index) => `dense-${index}`)
  for (const name of names) await create(server, { name, size: '256MB' })
  await sleep(2_000)
  const megabytes: number[] = []
  for (const pid of await vmPids(server.dataDir)) {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
    const kib = [...text.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, [, value]) => sum + Number(value), 0)
    megabytes.push((kib * 1024) / 1e6)
  }
  await Promise.all(names.map((name) => remove(server, name)))
  return figureOf('MB', megabytes)
}

async function create(server: TestServer, more: Readonly<Record<string, unknown>>): Promise<void> {
  await must(server, 'POST', '/instances', { image: IMAGE, size: '512MB', overlay_size: '1GB', vcpus: 1, cmd: SLEEP, ...more })
}

async function remove(server: TestServer, name: string): Promise<void> {
  await must(server, 'DELETE', `/instances/${name}`)
}

async function must(server: TestServer, method: string, path: string, body?: object): Promise<void> {
  const { status, text } = await server.request(method, path, body === undefined ? {} : { body })
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`)
}

async function says(server: TestServer, name: string, command: readonly string[], wanted: string): Promise<void> {
  const { output, exitCode } = await exec(server.url, server.key, name, { command })
  if (exitCode !== 0 || output.trim() !== wanted) throw new Error(`${command.join(' ')} in ${name}: ${exitCode} ${output}`)
}

async function readOut(server: TestServer, bytes: number): Promise<void> {
  const { bytes: got } = await exec(server.url, server.key, 'execs', { command: ['sh', '-c', `head -c ${bytes} /dev/zero`] })
  const wanted = createHash('sha256').update(Buffer.alloc(bytes)).digest('hex')
  if (createHash('sha256').update(got).digest('hex') !== wanted) throw new Error(`${got.length} bytes came, not those that were sent`)
}

async function writeIn(server: TestServer, bytes: number): Promise<void> {
  const block = randomBytes(1024 * 1024)
  const { socket, outcome } = await openExec(server.url, server.key, 'execs', { command: ['sh', '-c', `head -c ${bytes} | tail -c ${block.length} | sha256sum`] })
  for (let sent = 0; sent < bytes; sent += block.length) {
    await new Promise<void>((resolve, reject) => socket.send(block, (error) => (error instanceof Error ? reject(error) : resolve())))
  }
  const { output } = await outcome
  if (!output.startsWith(createHash('sha256').update(block).digest('hex'))) throw new Error(`the guest read something else: ${output}`)
}

async function vmPids(dataDir: string): Promise<number[]> {
  const { execFileSync } = await import('node:child_process')
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }).split('\n')
  return lines.filter((line) => line.includes('qemu-system') && /guest=[0-9a-f-]{36}/.test(line) && line.includes(`${dataDir}/`)).map((line) => Number.parseInt(line, 10))
}
