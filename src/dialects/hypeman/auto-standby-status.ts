/** What is known of an instance's `auto_standby`, and putting it off. */
import type { FastifyRequest } from 'fastify'
import type { AutoStandbyState } from '../../engine/idle/inbound-keeper.ts'
import { formatDuration } from '../../instance/duration.ts'
import type { Instance } from '../../instance/model.ts'
import { wireError } from './errors.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, instanceOf } from './surface.ts'
import { formatTimestamp } from './timestamp.ts'

/** How its servers name what they look at. */
const TRACKING_MODE = 'conntrack_v4_tcp'

export async function getAutoStandbyStatus(surface: Surface, request: FastifyRequest): Promise<wire.AutoStandbyStatus> {
  const { id } = await instanceOf(surface, request)
  const { instance, state } = await surface.engine.autoStandbys.state(callerOf(request), id)
  return presentStatus(instance, state, surface.options.now())
}

export async function holdAutoStandby(surface: Surface, request: FastifyRequest): Promise<wire.AutoStandbyStatus> {
  const { id, phase } = await instanceOf(surface, request)
  if (phase === 'standby' || phase === 'suspending') throw wireError('invalid_state', 'instance_in_standby', 'the instance is in standby: restore it first')
  const { instance, state } = await surface.engine.autoStandbys.hold(callerOf(request), id)
  return presentStatus(instance, state, surface.options.now())
}

function presentStatus(instance: Instance, state: AutoStandbyState | null, now: number): wire.AutoStandbyStatus {
  const policy = instance.spec.autoStandby ?? null
  const remainingMs = state === null || state.dueAt === null ? null : Math.max(0, state.dueAt - now)
  const [status, reason] = wordsOf(instance, state, remainingMs)
  return {
    active_inbound_connections: state?.open ?? 0,
    configured: policy !== null,
    eligible: status === 'active' || status === 'idle_countdown' || status === 'ready_for_standby',
    enabled: policy?.enabled ?? false,
    reason,
    status,
    supported: state?.isBlind !== true,
    tracking_mode: TRACKING_MODE,
    ...(policy === null ? {} : { idle_timeout: formatDuration(policy.idleAfterMs) }),
    ...(remainingMs === null ? {} : { countdown_remaining: formatDuration(remainingMs) }),
    ...timeOf('idle_since', state?.idleSince),
    ...timeOf('last_inbound_activity_at', state?.lastInboundAt),
    ...timeOf('next_standby_at', state?.dueAt),
    ...timeOf('hold_until', state?.holdUntil),
  }
}

function wordsOf({ spec, phase, address }: Instance, state: AutoStandbyState | null, remainingMs: number | null): readonly [wire.AutoStandbyStatus['status'], wire.AutoStandbyStatus['reason']] {
  const policy = spec.autoStandby ?? null
  if (policy === null) return ['disabled', 'policy_missing']
  if (!policy.enabled) return ['disabled', 'policy_disabled']
  if (!spec.network.enabled) return ['ineligible', 'network_disabled']
  if (phase === 'suspending') return ['standby_requested', 'ready_for_standby']
  if (phase !== 'running') return ['ineligible', 'instance_not_running']
  if (address === null) return ['ineligible', 'missing_ip']
  if (state?.isBlind === true) return ['unsupported', 'unsupported_platform']
  if (state !== null && state.open !== null && state.open > 0) return ['active', 'active_inbound_connections']
  if (remainingMs === 0) return ['ready_for_standby', 'ready_for_standby']
  // A command runs in it, or it has not been looked at yet.
  return remainingMs === null ? ['active', 'idle_timeout_not_elapsed'] : ['idle_countdown', 'idle_timeout_not_elapsed']
}

function timeOf<K extends string>(key: K, at: number | null | undefined): Partial<Record<K, string>> {
  return at === null || at === undefined ? {} : ({ [key]: formatTimestamp(at) } as Record<K, string>)
}
