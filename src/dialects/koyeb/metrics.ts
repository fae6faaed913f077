/** Metrics: what the VMs of an instance or a service really used, averaged over steps. */
import type { FastifyRequest } from 'fastify'
import type { VmStats } from '../../engine/host-port.ts'
import { asBerthError } from '../../instance/errors.ts'
import type { Instance } from '../../instance/model.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Json } from './body.ts'
import { fieldError } from './errors.ts'
import { defaultIds } from './ids.ts'
import { queryEnum, queryText, queryTime, quoted } from './query.ts'
import type { Surface } from './surface.ts'
import { asInstanceId, callerOf } from './surface.ts'
import { formatTime } from './timestamp.ts'

const NAMES = [
  'UNKNOWN',
  'CPU_TOTAL_PERCENT',
  'MEM_RSS',
  'HTTP_THROUGHPUT',
  'HTTP_RESPONSE_TIME_50P',
  'HTTP_RESPONSE_TIME_90P',
  'HTTP_RESPONSE_TIME_99P',
  'HTTP_RESPONSE_TIME_MAX',
  'PUBLIC_DATA_TRANSFER_IN',
  'PUBLIC_DATA_TRANSFER_OUT',
] as const
type Name = (typeof NAMES)[number]

const DEFAULT_SPAN_MS = 3_600_000
const DEFAULT_STEP_MS = 5 * 60_000
const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 }
/** Instances of one service. */
const INSTANCES_LIMIT = 100

interface Point {
  readonly at: number
  readonly value: number
}

export async function getMetrics(surface: Surface, request: FastifyRequest): Promise<Json> {
  const name = queryEnum(request, 'name', NAMES) ?? 'UNKNOWN'
  const end = queryTime(request, 'end')
  const start = queryTime(request, 'start') ?? (end ?? surface.options.now()) - DEFAULT_SPAN_MS
  const stepMs = stepOf(queryText(request, 'step'))
  const instances = await instancesOf(surface, request)
  const metrics = await Promise.all(
    instances.map(async instance => {
      const points = pointsOf(name, instance, await historyOf(surface, request, instance))
      const within = points.filter(point => point.at >= start && (end === null || point.at <= end))
      return { labels: { instance_id: instance.id }, samples: averaged(within, stepMs).map(({ at, value }) => ({ timestamp: formatTime(at), value })) }
    }),
  )
  return { metrics: metrics.filter(metric => metric.samples.length > 0) }
}

async function instancesOf(surface: Surface, request: FastifyRequest): Promise<readonly Instance[]> {
  const caller = callerOf(request)
  const [instanceId, serviceId] = [queryText(request, 'instance_id'), queryText(request, 'service_id')]
  if (instanceId !== null) return [await surface.engine.instances.get(caller, asInstanceId('instance_id', instanceId))]
  if (serviceId === null) throw fieldError('instance_id', 'give instance_id or service_id')
  const isDefault = serviceId === defaultIds(caller.projectId).service
  const scope = isDefault ? { lacksAnnotation: ANNOTATION.service } : { annotations: { [ANNOTATION.service]: serviceId } }
  return surface.engine.instances.list(caller, { ...scope, limit: INSTANCES_LIMIT })
}

async function historyOf(surface: Surface, request: FastifyRequest, instance: Instance): Promise<readonly VmStats[]> {
  try {
    return await surface.engine.instances.statsHistory(callerOf(request), instance.id)
  } catch (error) {
    // A deleted one has no history any more.
    if (asBerthError(error).code === 'not_found') return []
    throw error
  }
}

function pointsOf(name: Name, instance: Instance, samples: readonly VmStats[]): readonly Point[] {
  switch (name) {
    case 'MEM_RSS':
      return samples.map(sample => ({ at: sample.at, value: sample.memoryRssBytes }))
    case 'CPU_TOTAL_PERCENT':
      // 100 is one whole CPU.
      return rates(instance, samples, sample => sample.cpuSeconds * 100)
    case 'PUBLIC_DATA_TRANSFER_IN':
      return rates(instance, samples, sample => sample.networkRxBytes)
    case 'PUBLIC_DATA_TRANSFER_OUT':
      return rates(instance, samples, sample => sample.networkTxBytes)
    default:
      // Requests are not looked into, so nothing is known of them.
      return []
  }
}

/** Change a second of something that only grows in one life of the VM; a life begins at 0. */
function rates(instance: Instance, samples: readonly VmStats[], read: (sample: VmStats) => number): readonly Point[] {
  return samples.flatMap((sample, index) => {
    const before = samples[index - 1]
    const isSameLife = before !== undefined && read(before) <= read(sample)
    const since = isSameLife ? before.at : Math.min(instance.startedAt ?? instance.createdAt, sample.at)
    const seconds = (sample.at - since) / 1000
    return seconds <= 0 ? [] : [{ at: sample.at, value: (read(sample) - (isSameLife ? read(before) : 0)) / seconds }]
  })
}

function averaged(points: readonly Point[], stepMs: number): readonly Point[] {
  const steps = Map.groupBy(points, point => Math.floor(point.at / stepMs))
  return [...steps.values()].map(step => ({ at: step.at(-1)?.at ?? 0, value: step.reduce((sum, point) => sum + point.value, 0) / step.length }))
}

function stepOf(text: string | null): number {
  if (text === null) return DEFAULT_STEP_MS
  const match = /^(\d{1,5})(s|m|h)$/.exec(text)
  const stepMs = Number(match?.[1] ?? 0) * (UNIT_MS[match?.[2] ?? ''] ?? 0)
  if (stepMs <= 0) throw fieldError('step', `${quoted(text)} is not a step like 5m or 1h`)
  return stepMs
}
