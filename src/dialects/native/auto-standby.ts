/** The policy of automatic standby between the wire and the engine. */
import type { AutoStandby } from '../../instance/auto-standby.ts'
import type { AutoStandbyBody, AutoStandbyRequest } from './schema/auto-standby.ts'

export function acceptAutoStandby(request: AutoStandbyRequest | null): AutoStandby | null {
  if (request === null) return null
  const { enabled = true, idleAfterMs, ignoreSources = [], ignorePorts = [] } = request
  return { enabled, idleAfterMs, ignoreSources, ignorePorts }
}

export function presentAutoStandby(policy: AutoStandby | null): AutoStandbyBody | null {
  if (policy === null) return null
  const { enabled, idleAfterMs, ignoreSources, ignorePorts } = policy
  return { enabled, idleAfterMs, ignoreSources: [...ignoreSources], ignorePorts: [...ignorePorts] }
}
