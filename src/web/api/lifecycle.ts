/** What can be done to an instance, when, and how it is asked for. */
import { call, part } from './http.ts'
import type { Instance } from './types.ts'

export type Operation = 'start' | 'stop' | 'restart' | 'standby' | 'restore' | 'delete'

const SERVING: ReadonlySet<string> = new Set(['running', 'unhealthy'])
const ENDED: ReadonlySet<string> = new Set(['stopped', 'failed', 'preempted'])

export function isServing({ phase }: Pick<Instance, 'phase'>): boolean {
  return SERVING.has(phase)
}

export function mayDo(operation: Operation, { phase }: Pick<Instance, 'phase'>): boolean {
  switch (operation) {
    case 'start':
      return ENDED.has(phase)
    case 'stop':
    case 'restart':
    case 'standby':
      return SERVING.has(phase)
    case 'restore':
      return phase === 'standby'
    case 'delete':
      return phase !== 'deleting' && phase !== 'deleted'
  }
}

export async function act(operation: Operation, id: string): Promise<Instance> {
  return operation === 'delete' ? call('DELETE', `/instances/${part(id)}`) : call('POST', `/instances/${part(id)}/${operation}`)
}

/** The same, answered when the work is done. */
export async function actAndWait(operation: Operation, id: string): Promise<Instance> {
  const query = { wait: true, timeoutMs: 120_000 }
  return operation === 'delete' ? call('DELETE', `/instances/${part(id)}`, { query }) : call('POST', `/instances/${part(id)}/${operation}`, { query })
}

/** Some at once, so many at a time; what was refused, by instance. */
export async function actOnMany(operation: Operation, ids: readonly string[]): Promise<ReadonlyMap<string, unknown>> {
  const refused = new Map<string, unknown>()
  const left = [...ids]
  const worker = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      try {
        await act(operation, id)
      } catch (error) {
        refused.set(id, error)
      }
    }
  }
  await Promise.all(Array.from({ length: 4 }, worker))
  return refused
}

export const OPERATION_NAMES: Readonly<Record<Operation, string>> = {
  start: 'Start',
  stop: 'Stop',
  restart: 'Restart',
  standby: 'Standby',
  restore: 'Restore',
  delete: 'Delete',
}
