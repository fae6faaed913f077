/** What Prometheus reads at /metrics: the process, HTTP by route, and instances by phase. */
import type { FastifyInstance } from 'fastify'
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Phase } from '../instance/phase.ts'
import { PHASES } from '../instance/phase.ts'

/** Seconds; an answer from memory up to a VM that boots on a busy machine. */
const DURATION_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]

export interface MetricsSource {
  readonly version: string
  countInstances(phase: Phase): Promise<number>
}

/** Adds the hook that measures, and the route that tells. */
export function installMetrics(app: FastifyInstance, source: MetricsSource): void {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const durations = new Histogram({
    name: 'berth_http_request_duration_seconds',
    help: 'Time from a request to its answer, by route',
    labelNames: ['method', 'route', 'status'],
    buckets: DURATION_BUCKETS,
    registers: [registry],
  })
  const info = new Gauge({ name: 'berth_info', help: 'Berth’s version', labelNames: ['version'], registers: [registry] })
  info.set({ version: source.version }, 1)
  const instances = new Gauge({
    name: 'berth_instances',
    help: 'Instances by phase',
    labelNames: ['phase'],
    registers: [registry],
    async collect() {
      const counts = await Promise.all(PHASES.map(phase => source.countInstances(phase)))
      PHASES.forEach((phase, index) => instances.set({ phase }, counts[index] ?? 0))
    },
  })

  /** By their labels: looking for them anew costs more than counting. There are as many as routes have statuses. */
  const counted = new Map<string, ReturnType<typeof durations.labels>>()
  app.addHook('onResponse', (request, reply, done) => {
    const { method, routeOptions: { url: route = 'unknown' } } = request
    const name = `${method} ${reply.statusCode} ${route}`
    const known = counted.get(name) ?? durations.labels({ method, route, status: String(reply.statusCode) })
    if (!counted.has(name)) counted.set(name, known)
    known.observe(reply.elapsedTime / 1000)
    done()
  })
  app.get('/metrics', async (_request, reply) => {
    reply.header('content-type', registry.contentType)
    return registry.metrics()
  })
}
