/** The policy `auto_standby` between the wire and the engine. */
import type { AutoStandby } from '../../instance/auto-standby.ts'
import { checkAutoStandby } from '../../instance/auto-standby.ts'
import { formatDuration } from '../../instance/duration.ts'
import { asBerthError } from '../../instance/errors.ts'
import type { Instance } from '../../instance/model.ts'
import { duration } from './durations.ts'
import { wireError } from './errors.ts'
import type * as wire from './schema.ts'

const CODE = 'invalid_auto_standby'
const DEFAULT_IDLE_MS = 300_000

/** null where none is given. */
export function acceptAutoStandby(policy: wire.AutoStandby | undefined): AutoStandby | null {
  if (policy === undefined) return null
  const accepted = {
    enabled: policy.enabled ?? false,
    idleAfterMs: duration(policy.idle_timeout, DEFAULT_IDLE_MS, CODE, 'auto_standby.idle_timeout'),
    ignoreSources: policy.ignore_source_cidrs ?? [],
    ignorePorts: policy.ignore_destination_ports ?? [],
  }
  try {
    checkAutoStandby(accepted)
  } catch (error) {
    throw wireError('invalid_request', CODE, asBerthError(error).message.replace(/^autoStandby/, 'auto_standby'), { cause: error })
  }
  return accepted
}

export function presentAutoStandby({ spec }: Pick<Instance, 'spec'>): Pick<wire.Instance, 'auto_standby'> {
  const policy = spec.autoStandby ?? null
  if (policy === null) return {}
  return {
    auto_standby: {
      enabled: policy.enabled,
      idle_timeout: formatDuration(policy.idleAfterMs),
      ignore_source_cidrs: [...policy.ignoreSources],
      ignore_destination_ports: [...policy.ignorePorts],
    },
  }
}
