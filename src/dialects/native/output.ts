/**
 * All that an application writes, from its first line to its end, and then the end: what `berth run` shows.
 *
 * It begins when the instance has started, follows the log, and ends when the instance has left the phases of
 * a running VM. What was written between the last record that was followed and the end is read once more from
 * the log, so that nothing is lost and nothing is told twice.
 */
import type { Caller, Engine } from '../../engine/api.ts'
import type { LogQuery, LogRecord } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import { PHASES } from '../../instance/phase.ts'
import type { Phase } from '../../instance/phase.ts'

const BEFORE_START: readonly Phase[] = ['pending', 'allocated', 'preparing']
const STARTED = PHASES.filter((phase) => !BEFORE_START.includes(phase))
const ENDED: readonly Phase[] = ['stopped', 'preempted', 'deleting', 'deleted', 'failed']
/** One wait; it is repeated for as long as the client stays. */
const WAIT_MS = 60_000

type OutputQuery = Pick<LogQuery, 'source' | 'tail' | 'signal'>

export async function* outputUntilExit(engine: Engine, caller: Caller, id: InstanceId, query: OutputQuery): AsyncIterable<LogRecord> {
  const { signal } = query
  await reach(engine, caller, id, STARTED, signal)
  if (signal.aborted) return
  const follow = new AbortController()
  const either = AbortSignal.any([signal, follow.signal])
  const ended = reach(engine, caller, id, ENDED, signal).finally(() => follow.abort())
  // It is awaited below; until then a failure only ends the following.
  ended.catch(() => undefined)
  let told = 0
  let last: LogRecord | null = null
  for await (const record of await logs(engine, caller, id, { ...query, follow: true, signal: either })) {
    told += 1
    last = record
    yield record
  }
  await ended
  if (signal.aborted) return
  const all: LogRecord[] = []
  for await (const record of await logs(engine, caller, id, { ...query, tail: null, follow: false })) all.push(record)
  yield* all.slice(positionAfter(all, told, last, query.tail))
}

/** Resolves when the instance is in one of the phases (or gone), or the client is. */
async function reach(engine: Engine, caller: Caller, id: InstanceId, until: readonly Phase[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const { instance } = await engine.instances.wait(caller, id, { until, timeoutMs: WAIT_MS, signal })
      if (until.includes(instance.phase)) return
    } catch (error) {
      if (error instanceof BerthError && error.code === 'not_found') return
      throw error
    }
  }
}

/** The log; empty where there is none, since an instance may end before it wrote any. */
async function logs(engine: Engine, caller: Caller, id: InstanceId, query: LogQuery): Promise<AsyncIterable<LogRecord>> {
  try {
    return await engine.instances.logs(caller, id, query)
  } catch (error) {
    if (error instanceof BerthError && (error.code === 'log_not_found' || error.code === 'not_found')) return nothing()
    throw error
  }
}

async function* nothing(): AsyncIterable<LogRecord> {}

/** Where the untold begins: after `told` records, unless the log was rotated; then after the last that was told. */
function positionAfter(all: readonly LogRecord[], told: number, last: LogRecord | null, tail: number | null): number {
  if (last === null) return tail === null ? 0 : Math.max(0, all.length - tail)
  const isLast = (record: LogRecord | undefined) =>
    record !== undefined && record.at === last.at && record.text === last.text && record.stream === last.stream
  if (tail === null && isLast(all[told - 1])) return told
  return all.findLastIndex(isLast) + 1
}
