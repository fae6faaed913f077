/**
 * The NFS server of one file system: a process of its own that outlives the server of Berth, as VMs do, and is found
 * again by pid + start time + boot id. It ends when nobody uses its file system, or when it is told to.
 */
import { randomInt } from 'node:crypto'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { BerthError } from '../../instance/errors.ts'
import { readJson, writeJson } from '../qemu/atomic-file.ts'
import { isAlive, signalProcess } from '../qemu/identity.ts'
import type { ProcessIdentity } from '../qemu/identity.ts'
import { killVm, spawnVm, untilGone } from '../qemu/process.ts'
import { ganeshaConfig } from './ganesha-config.ts'

const SCRIPT = fileURLToPath(new URL('server.sh', import.meta.url))
const RECORD = 'server.json'
/** Where the file system is, in the root that the server sees. */
const DATA = '/data'
/** It starts in less than a second; a busy machine takes longer. */
const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 5_000
const LOOK_EVERY_MS = 25
const MAX_EPOCH = 2 ** 31 - 1

export interface ServerRecord {
  readonly process: ProcessIdentity
  readonly port: number
}

/** The server of this directory that runs now; null if there is none. */
export async function findServer(dir: string): Promise<ServerRecord | null> {
  const record = await readJson(join(dir, RECORD))
  if (!isRecord(record)) return null
  return (await isAlive(record.process)) ? record : null
}

/** Starts a server and waits until it answers; leaves none behind if it throws. */
export async function startServer(dir: string, address: string, port: number): Promise<ServerRecord> {
  await writeFile(join(dir, 'ganesha.conf'), ganeshaConfig({ path: DATA, stateDir: '/run/state', address, port }), { mode: 0o600 })
  await rm(join(dir, 'server.log'), { force: true })
  // Two servers of one epoch would look like one to a client of both.
  const epoch = String(randomInt(1, MAX_EPOCH))
  const { identity } = await spawnVm({
    command: ['unshare', '--mount', '--propagation', 'private', '--', '/bin/sh', SCRIPT, dir, epoch],
    logPath: join(dir, 'server.log'),
  })
  try {
    const record: ServerRecord = { process: identity, port }
    await writeJson(join(dir, RECORD), record)
    await untilItAnswers(dir, record, address)
    return record
  } catch (error) {
    await killVm(identity)
    throw error
  }
}

/** Ends it in good order, so that all is on the disk. */
export async function stopServer(dir: string, { process }: ServerRecord): Promise<void> {
  if (await signalProcess(process, 'SIGTERM')) {
    if (!(await untilGone(process, STOP_TIMEOUT_MS))) await killVm(process)
  }
  await rm(join(dir, RECORD), { force: true })
}

/** Bytes that files take, as the server's own mount tells; null if the server has just ended. */
export async function usedBytes({ process }: ServerRecord): Promise<number | null> {
  try {
    const { bsize, blocks, bfree } = await statfs(`/proc/${process.pid}/root${DATA}`)
    return (await isAlive(process)) ? (blocks - bfree) * bsize : null
  } catch {
    // Its namespace went with it.
    return null
  }
}

/** Whether nothing listens there. */
export async function isFree(address: string, port: number): Promise<boolean> {
  const server = createServer()
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

async function untilItAnswers(dir: string, { process, port }: ServerRecord, address: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS
  while (!(await answers(address, port))) {
    if (!(await isAlive(process))) {
      throw new BerthError('host_unavailable', `The NFS server of a file system ended as soon as it was started; ${join(dir, 'server.log')} may say why.`)
    }
    if (performance.now() > deadline) throw new BerthError('timeout', `The NFS server of a file system did not answer within ${START_TIMEOUT_MS / 1000} s; the machine may be overloaded.`)
    await sleep(LOOK_EVERY_MS)
  }
}

async function answers(address: string, port: number): Promise<boolean> {
  const socket = connect({ host: address, port })
  return await new Promise((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  }).then((isThere) => {
    socket.destroy()
    return isThere === true
  })
}

function isRecord(value: unknown): value is ServerRecord {
  return typeof value === 'object' && value !== null && 'process' in value && 'port' in value && typeof value.port === 'number'
}
