/** Many at once: bursts, a hundred idle VMs and their server, a start with a thousand stored instances. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startServer, type TestServer } from '../test/support/server.ts'
import { create, must, remove } from './berth.ts'
import { figureOf, timed, type Figure } from './figure.ts'
import { packedServer } from './program.ts'

const BURST = 50
/** So many are made at a time where the making is not what is measured. */
const AT_A_TIME = 4
/** What a launch leaves to do is done by then, and what V8 has to clear away after so many. */
const SETTLE_MS = 12_000
/** A whole round of what is done now and then: figures of each VM every 30 s, a question to each agent every 20 s. */
const WATCH_MS = 30_000
const STORED = 1_000
const STORING_AT_A_TIME = 25
const TICKS_PER_SECOND = 100

/** Fifty at once, until each runs. */
export async function burst(server: TestServer): Promise<Figure> {
  const names = Array.from({ length: BURST }, (_, index) => `burst-${index}`)
  try {
    return figureOf('ms', [await timed(() => Promise.all(names.map((name) => create(server, { name, size: '128MB' }))))])
  } finally {
    await Promise.allSettled(names.map((name) => remove(server, name)))
  }
}

/** Memory that each idle VM of 256 MB has for itself, and what their server takes meanwhile. */
export async function crowd(server: TestServer, count: number): Promise<Readonly<Record<string, Figure>>> {
  const names = Array.from({ length: count }, (_, index) => `crowd-${index}`)
  try {
    await inParts(names, AT_A_TIME, (name) => create(server, { name, size: '256MB' }))
    await sleep(SETTLE_MS)
    const megabytes = await Promise.all((await vmPids(server.dataDir)).map(privateMegabytes))
    const before = await cpuSeconds(server.pid)
    const ms = await timed(() => sleep(WATCH_MS))
    const percent = ((await cpuSeconds(server.pid)) - before) / (ms / 1000) * 100
    return {
      density_100: figureOf('MB', megabytes),
      idle_100: figureOf('%', [percent]),
      idle_100_memory: figureOf('MB', [await residentMegabytes(server.pid)]),
    }
  } finally {
    await inParts(names, AT_A_TIME, (name) => remove(server, name).catch(() => undefined)) // one that was never made
  }
}

/** From the start of the process to its first answer, with so many instances in its database. */
export async function serverStart(samples: number): Promise<Figure> {
  const main = await packedServer()
  const dataDir = await mkdtemp(join(tmpdir(), 'berth-bench-'))
  try {
    const env = { BERTH_OVERCOMMIT_CPU: '1000', BERTH_OVERCOMMIT_MEMORY: '1000', BERTH_OVERCOMMIT_DISK: '1000' }
    const first = await startServer({ dataDir, env, main })
    try {
      await must(first, 'POST', '/images', { name: 'localhost/busybox' })
      const names = Array.from({ length: STORED }, (_, index) => `stored-${index}`)
      await inParts(names, STORING_AT_A_TIME, (name) => create(first, { name, size: '128MB', overlay_size: '64MB' }))
    } finally {
      await first.stop({ keepInstances: true })
    }
    const times: number[] = []
    for (let round = 0; round < samples; round += 1) {
      const begun = performance.now()
      const server = await startServer({ dataDir, env, main })
      times.push(performance.now() - begun)
      await server.stop({ keepInstances: true })
    }
    return figureOf('ms', times)
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}

async function inParts<T>(items: readonly T[], atATime: number, work: (item: T) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < items.length; from += atATime) await Promise.all(items.slice(from, from + atATime).map(work))
}

async function vmPids(dataDir: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    const command = /^\d+$/.test(name) ? await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '') : ''
    if (command.startsWith('qemu-system') && command.includes(`${dataDir}/`) && /guest=[0-9a-f-]{36}/.test(command)) found.push(Number(name))
  }
  return found
}

async function privateMegabytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kib = [...text.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, [, value]) => sum + Number(value), 0)
  return (kib * 1024) / 1e6
}

async function residentMegabytes(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8')
  return (Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0) * 1024) / 1e6
}

/** User and system time of a process: fields 14 and 15, counted behind the program's name. */
async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}
