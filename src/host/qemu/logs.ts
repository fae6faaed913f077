/** The logs of an instance: what can be read of them, and their rotation while a VM writes them. */
import type { LogQuery, LogRecord } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { makeLog } from './disks.ts'
import { cutInPlace, follow, nextPath, readTail, sizeNow, turnOver, type LogFile } from './log-file.ts'
import type { Seat } from './seat.ts'

/** Lines already there, then, with `follow`, new ones until aborted or until the instance is removed. */
export async function* readLogs(seat: Seat, query: LogQuery): AsyncGenerator<LogRecord> {
  if (seat.record === null) throw noLog()
  const files = filesOf(seat, query.source)
  const offsets: number[] = []
  let left = query.tail
  for (const file of files) {
    const records = readTail(file, left, !query.follow)
    for (;;) {
      const step = await records.next()
      if (step.done === true) {
        offsets.push(step.value)
        break
      }
      if (query.signal.aborted) return
      // What QEMU itself said stands first, and is seldom more than a line or two.
      if (left !== null && !step.value.partial) left = Math.max(0, left - 1)
      yield step.value
    }
  }
  if (!query.follow || query.signal.aborted) return
  const over = new AbortController()
  const signal = AbortSignal.any([query.signal, over.signal])
  try {
    yield* merge(files.map((file, index) => follow(file, offsets[index] ?? 0, signal)))
  } finally {
    over.abort()
  }
}

/** For an instance that this host never prepared, or has removed. */
export function noLog(): BerthError {
  return new BerthError('log_not_found', 'There is no log of this instance: it has never started here.')
}

/** Rounds that pass over a VM which wrote nothing since the last look at it. */
const QUIET_ROUNDS = 2

/** Which logs have grown too large, asked in rounds; most VMs are quiet, and cost a look in every third. */
export class LogRounds {
  readonly #seen = new WeakMap<Seat, { readonly bytes: number; skip: number }>()

  /** Whether `rotateLogs` has something to do. */
  needsRotation(seat: Seat): boolean {
    const seen = this.#seen.get(seat)
    if (seen !== undefined && seen.skip > 0) {
      seen.skip -= 1
      return false
    }
    const { paths, context } = seat
    try {
      const sizes = [paths.appLog, paths.consoleLog, paths.vmmLog].map(sizeNow)
      const bytes = sizes.reduce((sum, size) => sum + size, 0)
      this.#seen.set(seat, { bytes, skip: bytes === seen?.bytes ? QUIET_ROUNDS : 0 })
      return sizes.some((size) => size > context.logLimitBytes)
    } catch {
      return true // The rotation meets the same, and tells it.
    }
  }
}

/** Rotates what has grown too large; QEMU is told to begin a new file, so that no line is lost. */
export async function rotateLogs(seat: Seat): Promise<void> {
  const { live, paths, context } = seat
  if (live === null) return
  for (const [chardev, path] of [['app', paths.appLog], ['console', paths.consoleLog]] as const) {
    if (sizeNow(path) <= context.logLimitBytes) continue
    const next = nextPath(path)
    await makeLog(context, seat.id, next)
    await live.vmm.qmp.execute('chardev-change', { id: chardev, backend: { type: 'file', data: { out: next, append: true } } })
    await turnOver(path)
  }
  await cutInPlace(paths.vmmLog, context.logLimitBytes)
}

function filesOf(seat: Seat, source: LogQuery['source']): readonly LogFile[] {
  const { paths } = seat
  switch (source) {
    case 'app':
      return [{ path: paths.appLog, format: 'cri' }]
    case 'vmm':
      return [
        { path: paths.vmmLog, format: 'stderr' },
        { path: paths.consoleLog, format: 'console' },
      ]
    case 'server':
      return [{ path: paths.serverLog, format: 'timed' }]
  }
}

/** Several growing logs as one, in the order in which lines arrive. */
async function* merge(sources: readonly AsyncGenerator<LogRecord>[]): AsyncGenerator<LogRecord> {
  const pending = new Map(sources.map((source) => [source, source.next().then((step) => ({ source, step }))]))
  try {
    while (pending.size > 0) {
      const { source, step } = await Promise.race(pending.values())
      if (step.done === true) {
        pending.delete(source)
        continue
      }
      pending.set(source, source.next().then((next) => ({ source, step: next })))
      yield step.value
    }
  } finally {
    for (const source of pending.keys()) void source.return(undefined)
  }
}
