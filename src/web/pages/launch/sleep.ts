/** After how long an instance goes to standby, as the forms hold it. Pure. */
import type { AutoStandbyRequest } from '../../../dialects/native/schema/auto-standby.ts'
import type { Instance } from '../../api/types.ts'

export interface Sleep {
  /** Without any use; null is never. */
  readonly idleMinutes: number | null
  /** Without a connection; null is never. */
  readonly quietMinutes: number | null
  /** Networks, addresses and ports of the guest whose connections do not count. */
  readonly ignored: readonly string[]
}

export const NO_SLEEP: Sleep = { idleMinutes: null, quietMinutes: null, ignored: [] }

const MINUTE_MS = 60_000
const isPort = (word: string) => /^\d+$/.test(word)

export function sleepOf({ idleAfterMs, autoStandby }: Pick<Instance, 'idleAfterMs' | 'autoStandby'>): Sleep {
  const policy = autoStandby?.enabled === true ? autoStandby : null
  return {
    idleMinutes: idleAfterMs === null ? null : idleAfterMs / MINUTE_MS,
    quietMinutes: policy === null ? null : policy.idleAfterMs / MINUTE_MS,
    ignored: policy === null ? [] : [...policy.ignoreSources, ...policy.ignorePorts.map(String)],
  }
}

export function idleAfterOf({ idleMinutes }: Sleep): number | null {
  return idleMinutes === null ? null : Math.round(idleMinutes * MINUTE_MS)
}

export function autoStandbyOf({ quietMinutes, ignored }: Sleep): AutoStandbyRequest | null {
  if (quietMinutes === null) return null
  const [sources, ports] = [ignored.filter(word => !isPort(word)), ignored.filter(isPort).map(Number)]
  return { idleAfterMs: Math.round(quietMinutes * MINUTE_MS), ...(sources.length === 0 ? {} : { ignoreSources: sources }), ...(ports.length === 0 ? {} : { ignorePorts: ports }) }
}
