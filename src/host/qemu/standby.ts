/**
 * Standby: a VM's devices go to a file, its memory is in a file already, and QEMU ends; later a new QEMU
 * maps the same memory, loads the devices and goes on.
 *
 *   save   stop ─▶ migrate (device state only: x-ignore-shared) ─▶ state.new ─▶ rename ─▶ the caller quits QEMU
 *   load   QEMU -incoming defer, state as descriptor 3 ─▶ migrate-incoming ─▶ the caller continues it
 *
 * Invariants: the guest runs no instruction between the two, so memory and devices fit together; a state that
 * could not be written whole never gets its name.
 * Why so: `exec:` is denied by the sandbox, `file:` does not exist before QEMU 8.2, so QEMU writes to a socket
 * of ours and reads from an inherited descriptor.
 */
import { createWriteStream } from 'node:fs'
import { chmod, open, rename, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import { asDiskError } from '../command.ts'
import type { InstancePaths } from '../paths.ts'
import { syncDirectory } from './atomic-file.ts'
import type { Jail } from './jail.ts'
import type { QmpClient } from './qmp.ts'

/** Device state is less than a megabyte; a machine whose disk hangs must not hold an instance for ever. */
const SAVE_TIMEOUT_MS = 60_000
const LOAD_TIMEOUT_MS = 60_000
const STATE_DESCRIPTOR = 3
/** QEMU's own default would be 128 MiB/s. */
const MAX_BANDWIDTH_BYTES = 16 * 1024 ** 3

/** Saves a paused VM's devices; gives the bytes that state and memory take. The VM stays paused. */
export async function saveDevices(qmp: QmpClient, id: InstanceId, paths: InstancePaths, jail: Jail): Promise<number> {
  const beside = `${paths.state}.new`
  const receiver = await receive(paths, id, jail, beside)
  try {
    await configure(qmp)
    const [sent] = await Promise.allSettled([migrated(qmp, SAVE_TIMEOUT_MS, { uri: `unix:${paths.stateSocket}` }, 'migrate')])
    await receiver.close()
    // A disk that is full breaks the connection first: its error tells more than QEMU's.
    await receiver.done
    if (sent.status === 'rejected') throw sent.reason
    await rename(beside, paths.state)
    return (await stat(paths.state)).size + (await stat(paths.memory)).blocks * 512
  } catch (error) {
    await receiver.close()
    await rm(beside, { force: true })
    throw asDiskError(error, 'the saved state of an instance')
  } finally {
    await rm(paths.stateSocket, { force: true })
  }
}

/** Loads the state that QEMU inherited as its first extra descriptor. The VM stays paused. */
export async function loadDevices(qmp: QmpClient): Promise<void> {
  await configure(qmp)
  await migrated(qmp, LOAD_TIMEOUT_MS, { uri: `fd:${STATE_DESCRIPTOR}` }, 'migrate-incoming')
}

/** Waits until memory and state are on the disk, and would survive a power cut. */
export async function syncSaved(paths: InstancePaths): Promise<void> {
  for (const path of [paths.memory, paths.state, paths.overlay]) {
    const file = await open(path, 'r')
    try {
      await file.datasync()
    } finally {
      await file.close()
    }
  }
  await syncDirectory(paths.dir)
}

async function configure(qmp: QmpClient): Promise<void> {
  const on = (capability: string) => ({ capability, state: true })
  await qmp.execute('migrate-set-capabilities', { capabilities: [on('x-ignore-shared'), on('events')] })
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': MAX_BANDWIDTH_BYTES })
}

/** Runs a migration command to its end. */
async function migrated(qmp: QmpClient, timeoutMs: number, args: Readonly<Record<string, unknown>>, command: string): Promise<void> {
  const ends = new Set(['completed', 'failed', 'cancelled'])
  const ended = qmp.nextEvent(({ event, data }) => event === 'MIGRATION' && ends.has(String(data['status'])), timeoutMs)
  // If the command itself is refused, nobody waits for the event any more.
  ended.catch(() => undefined)
  await qmp.execute(command, args)
  const { data } = await ended.catch(async (error: unknown) => {
    await qmp.execute('migrate_cancel').catch(() => undefined)
    throw error
  })
  if (data['status'] === 'completed') return
  const answer = await qmp.execute('query-migrate')
  const why = typeof answer === 'object' && answer !== null && 'error-desc' in answer ? `: ${String(answer['error-desc'])}` : ''
  throw new BerthError('internal', `QEMU could not ${command === 'migrate' ? 'save' : 'load'} the state of the VM${why}.`)
}

interface Receiver {
  /** Settles when all has arrived and is written; rejects if it can't be written. */
  readonly done: Promise<void>
  close(): Promise<void>
}

/** A socket that QEMU delivers one state to, straight into a file. */
async function receive(paths: InstancePaths, id: InstanceId, jail: Jail, target: string): Promise<Receiver> {
  await rm(paths.stateSocket, { force: true })
  // Opened before the VM is troubled: a directory that can't be written is told at once.
  const file = await open(target, 'w', 0o600).catch((error: unknown) => {
    throw asDiskError(error, 'the saved state of an instance')
  })
  const outcome = Promise.withResolvers<void>()
  let connected = false
  const server = createServer((socket) => {
    if (connected) {
      socket.destroy()
      return
    }
    connected = true
    pipeline(socket, createWriteStream(target, { fd: file })).then(outcome.resolve, (error: unknown) => {
      socket.destroy()
      outcome.reject(error)
    })
  })
  outcome.promise.catch(() => undefined)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(paths.stateSocket, resolve)
  })
  await chmod(paths.stateSocket, 0o600)
  await jail.give(paths.stateSocket, id, 0o600)
  let closed = false
  return {
    done: outcome.promise,
    close: async () => {
      if (closed) return
      closed = true
      server.close()
      if (!connected) {
        await file.close()
        outcome.reject(new BerthError('internal', 'QEMU delivered no state.'))
      }
    },
  }
}
