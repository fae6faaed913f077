/** The operations on instances that there are. Batches are all or nothing: every id is looked at before any is touched. */
import type { FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import type { Instance } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { acceptInstanceIds, acceptName } from './accept.ts'
import { LAMBDA } from './annotation.ts'
import { readBody } from './body.ts'
import { instanceMissing } from './errors.ts'
import { presentInstance, statusOf } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, findInstance, pathId } from './surface.ts'

export async function listInstances(surface: Surface, request: FastifyRequest): Promise<readonly wire.Instance[]> {
  const caller = callerOf(request)
  const cluster = (request.query as Readonly<Record<string, unknown>>)['cluster_id']
  // There are no clusters, so no instance is in one.
  if (cluster !== undefined && cluster !== '') return []
  const instances = await surface.engine.instances.list(caller, { order: 'oldest-first' })
  return instances.map(instance => shown(surface, instance))
}

export async function getInstance(surface: Surface, request: FastifyRequest): Promise<wire.Instance> {
  return shown(surface, await findInstance(surface, callerOf(request), pathId(request)))
}

/** Only the name can change, and only as this dialect shows it: the engine's own name stays. */
export async function updateInstance(surface: Surface, request: FastifyRequest): Promise<wire.Instance> {
  const caller = callerOf(request)
  const instance = await findInstance(surface, caller, pathId(request))
  const name = acceptName(readBody(request)['name'])
  if (name === null || statusOf(instance) === 'terminated') return shown(surface, instance)
  return shown(surface, await surface.engine.instances.update(caller, instance.id, { annotations: { [LAMBDA.name]: name } }))
}

export async function restartInstances(surface: Surface, request: FastifyRequest): Promise<{ readonly restarted_instances: readonly wire.Instance[] }> {
  const caller = callerOf(request)
  const asked = await findBatch(surface, request, caller)
  const ids = asked.map(instance => instance.id)
  if (ids.some(id => surface.restarting.has(id))) throw conflict('an instance of these is being restarted')
  for (const id of ids) surface.restarting.add(id)
  try {
    return await restartAll(surface, caller, asked)
  } finally {
    for (const id of ids) surface.restarting.delete(id)
  }
}

async function restartAll(surface: Surface, caller: Identity, asked: readonly Instance[]): Promise<{ readonly restarted_instances: readonly wire.Instance[] }> {
  const instances = await surface.engine.instances.list(caller, { ids: asked.map(instance => instance.id), order: 'oldest-first' })
  if (instances.length < asked.length) throw instanceMissing()
  for (const instance of instances) {
    const status = statusOf(instance)
    if (status !== 'active' && status !== 'unhealthy') throw conflict(`an instance that is ${status} can't be restarted`)
  }
  const restarted: Instance[] = []
  for (const instance of instances) {
    const one = await restart(surface, caller, instance, restarted.length)
    if (one !== null) restarted.push(one)
  }
  return { restarted_instances: restarted.map(instance => shown(surface, instance)) }
}

export async function terminateInstances(surface: Surface, request: FastifyRequest): Promise<{ readonly terminated_instances: readonly wire.Instance[] }> {
  const caller = callerOf(request)
  const instances = await findBatch(surface, request, caller)
  const terminated = await Promise.all(instances.map(instance => terminate(surface, caller, instance)))
  return { terminated_instances: terminated.map(instance => shown(surface, instance)) }
}

/** null where another request was faster and others of this batch were restarted already: the answer lists those. */
async function restart(surface: Surface, caller: Identity, instance: Instance, restartedSoFar: number): Promise<Instance | null> {
  try {
    return await surface.engine.instances.restart(caller, instance.id)
  } catch (error) {
    const isRefusal = error instanceof BerthError && ['invalid_state', 'insufficient_resources', 'not_found'].includes(error.code)
    if (!isRefusal) throw error
    if (restartedSoFar > 0) return null
    throw conflict(error.message, error)
  }
}

async function terminate(surface: Surface, caller: Identity, instance: Instance): Promise<Instance> {
  return surface.engine.instances.delete(caller, instance.id).catch((error: unknown) => {
    // Someone else was faster: it is what was asked for.
    if (error instanceof BerthError && error.code === 'not_found') return { ...instance, phase: 'deleted' as const, desired: 'deleted' as const }
    throw error
  })
}

async function findBatch(surface: Surface, request: FastifyRequest, caller: Identity): Promise<readonly Instance[]> {
  const ids = acceptInstanceIds(readBody(request))
  const instances = await Promise.all(ids.map(id => findInstance(surface, caller, id)))
  const gone = instances.find(instance => instance.phase === 'deleted')
  // Still readable for a while, but nothing can be done to it.
  if (gone !== undefined) throw instanceMissing()
  return instances
}

function conflict(why: string, cause?: unknown): BerthError {
  return new BerthError('invalid_state', `The request conflicts with the current state of the resource: ${why}`, { cause })
}

function shown(surface: Surface, instance: Instance): wire.Instance {
  return presentInstance(instance, surface.catalogue)
}
