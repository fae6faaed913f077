/** `/berth/v1/instances`: the life of instances. */
import { Type } from 'typebox'
import type { Static, TSchema } from 'typebox'
import type { Caller } from '../../../engine/api.ts'
import { BerthError } from '../../../instance/errors.ts'
import type { Instance, InstanceId } from '../../../instance/model.ts'
import type { Phase } from '../../../instance/phase.ts'
import { acceptCreate, acceptMount, acceptShape, acceptTagFilter, acceptUpdate } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentInstance, presentInstanceDetail } from '../present.ts'
import { findersOf, findInstance, findVolume } from '../resolve.ts'
import { ActQuery, AttachVolumeBody, CreateInstanceBody, CreateQuery, DeleteQuery, InstanceParams, InstanceVolumeParams, ListInstancesQuery, StartInstanceBody, StopInstanceBody, UpdateInstanceBody, WaitQuery } from '../schema/instance-requests.ts'
import { WaitBody } from '../schema/instances.ts'
import { DEFAULT_WAIT_MS, page } from '../schema/page.ts'
import { settle as settled } from '../settle.ts'
import { clientSignal } from '../stream.ts'

/** Events that a detail tells at most. */
const MAX_TIMELINE = 1000
const IDEMPOTENCY_KEY_LIMIT_CHARACTERS = 255

const InstanceRef = Type.Ref('Instance#')
const tags = ['instances']
const params = InstanceParams

export const instanceRoutes: AddRoutes = (app, { engine, stopping, now, catalogue }) => {
  const volumeIdFinder = (caller: Caller) => async (word: string) => (await findVolume(engine, caller, word)).id

  const settle = (caller: Caller, since: Instance, until: readonly Phase[], timeoutMs: number | undefined, signal: AbortSignal) =>
    settled(engine, caller, since, { until, timeoutMs, signal })

  /** `POST /instances/{instance}/{verb}`: asks for a change, and with `wait` answers when a phase of `until` is reached. */
  const act = <B extends TSchema>(
    verb: 'start' | 'stop' | 'restart' | 'standby' | 'restore',
    until: readonly Phase[],
    body: B | null,
    { run, ...told }: { summary: string; description?: string; run: (caller: Caller, id: InstanceId, body: Static<B> | null) => Promise<Instance> },
  ): void => {
    app.post(`/instances/:instance/${verb}`, {
      schema: {
        tags,
        operationId: `${verb}Instance`,
        ...told,
        params,
        querystring: ActQuery,
        ...(body === null ? {} : { body: Type.Union([body, Type.Null()]) }),
        response: { 200: InstanceRef },
      },
      handler: async (request, reply) => {
        const caller = callerOf(request)
        const { id } = await findInstance(engine, caller, request.params.instance)
        // Validated by the schema above, where there is one.
        const instance = await run(caller, id, body === null ? null : ((request.body ?? null) as Static<B> | null))
        if (request.query.wait !== true) return presentInstance(instance)
        return presentInstance(await settle(caller, instance, until, request.query.timeoutMs, clientSignal(reply, stopping)))
      },
    })
  }

  app.post('/instances', {
    schema: {
      tags,
      operationId: 'createInstance',
      summary: 'Make an instance and start it',
      description:
        'Answers as soon as the wish is recorded; with `wait` when it runs, and if that fails with the reason (and `details.instanceId`). With the header `Idempotency-Key` the same request again gives the same instance, ' +
        'and another request with that key is `idempotency_conflict`.',
      body: CreateInstanceBody,
      querystring: CreateQuery,
      headers: Type.Object({ 'idempotency-key': Type.Optional(Type.String({ minLength: 1, maxLength: IDEMPOTENCY_KEY_LIMIT_CHARACTERS })) }),
      response: { 201: InstanceRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const wish = await acceptCreate(request.body, findersOf(engine, caller), now(), catalogue)
      const key = request.headers['idempotency-key']
      const made = await engine.instances.create(caller, wish, key === undefined ? {} : { idempotencyKey: key, idempotencyBasis: request.body })
      const { wait, timeoutMs } = request.query
      const instance =
        wait === undefined ? made : await settle(caller, made, ['running', 'unhealthy'], timeoutMs, clientSignal(reply, stopping))
      return reply.code(201).send(presentInstance(instance))
    },
  })

  app.get('/instances', {
    schema: {
      tags,
      operationId: 'listInstances',
      summary: 'List instances',
      querystring: ListInstancesQuery,
      response: { 200: page(InstanceRef) },
    },
    handler: async (request) => {
      const { id, phase, name, tag, deleted, order = 'newest-first', limit, cursor } = request.query
      const filter = acceptTagFilter(tag)
      const all = await engine.instances.list(callerOf(request), {
        order,
        ...(id === undefined ? {} : { ids: id as InstanceId[] }),
        ...(phase === undefined ? {} : { phases: phase }),
        ...(name === undefined ? {} : { name }),
        ...(filter === null ? {} : { tags: filter }),
        ...(deleted === undefined ? {} : { includeDeleted: deleted }),
      })
      const direction = order === 'newest-first' ? 'descending' : 'ascending'
      const { items, next } = pageOf(all, { limit, cursor }, ({ createdAt, id }) => [createdAt, id], direction)
      return { items: items.map(presentInstance), next }
    },
  })

  app.get('/instances/:instance', {
    schema: {
      tags,
      operationId: 'getInstance',
      summary: 'One instance, with its timeline',
      params,
      response: { 200: Type.Ref('InstanceDetail#') },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const instance = await findInstance(engine, caller, request.params.instance)
      const latest = await engine.events.list(caller, { instanceIds: [instance.id], order: 'newest-first', limit: MAX_TIMELINE })
      return presentInstanceDetail(instance, latest.toReversed(), now())
    },
  })

  app.patch('/instances/:instance', {
    schema: {
      tags,
      operationId: 'updateInstance',
      summary: 'Change what may change on a living instance',
      description: 'Its size (`type`, `vcpus`, `memoryBytes`) only while it is stopped; everything else at any time. A variable is there from the next start on.',
      params,
      body: UpdateInstanceBody,
      response: { 200: InstanceRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const found = await findInstance(engine, caller, request.params.instance)
      const change = acceptUpdate(request.body, now())
      const shape = acceptShape(request.body, found, catalogue)
      const reshaped = shape === null ? found : await engine.instances.reshape(caller, found.id, shape)
      const isAll = Object.keys(change).length === 0 && shape !== null
      return presentInstance(isAll ? reshaped : await engine.instances.update(caller, found.id, change))
    },
  })

  app.delete('/instances/:instance', {
    schema: {
      tags,
      operationId: 'deleteInstance',
      summary: 'Delete an instance, from any phase',
      description: 'Its volumes stay. Answers with the instance as it is on its way out.',
      params,
      querystring: DeleteQuery,
      response: { 200: InstanceRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { graceful, wait, timeoutMs } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      const instance = await engine.instances.delete(caller, id, graceful === undefined ? {} : { graceful })
      if (wait !== true) return presentInstance(instance)
      return presentInstance(await settle(caller, instance, ['deleted'], timeoutMs, clientSignal(reply, stopping)))
    },
  })

  act('start', ['running', 'unhealthy'], StartInstanceBody, {
    summary: 'Start a stopped instance',
    description: 'The body is optional; it may replace entrypoint and command.',
    run: (caller, id, body) => engine.instances.start(caller, id, body ?? {}),
  })
  act('stop', ['stopped', 'deleted'], StopInstanceBody, {
    summary: 'Stop an instance',
    description: 'SIGTERM to the application, grace, SIGKILL. The disks stay.',
    run: (caller, id, body) => engine.instances.stop(caller, id, body ?? {}),
  })
  act('restart', ['running', 'unhealthy'], null, {
    summary: 'Stop and start an instance',
    run: (caller, id) => engine.instances.restart(caller, id),
  })
  act('standby', ['standby'], null, {
    summary: 'Put a running instance to sleep',
    description: 'Memory and devices are saved and the VM ends; restore continues the same processes.',
    run: (caller, id) => engine.instances.standby(caller, id),
  })
  act('restore', ['running', 'unhealthy'], null, {
    summary: 'Wake an instance from standby',
    run: (caller, id) => engine.instances.restore(caller, id),
  })

  app.get('/instances/:instance/wait', {
    schema: {
      tags,
      operationId: 'waitInstance',
      summary: 'Wait for a phase',
      description: 'Answers when the instance is in one of the phases, when it has settled where it can not get there by itself, or when the time is up.',
      params,
      querystring: WaitQuery,
      response: { 200: WaitBody },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { until, timeoutMs = DEFAULT_WAIT_MS } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      const waited = await engine.instances.wait(caller, id, { until, timeoutMs, signal: clientSignal(reply, stopping) })
      if (stopping.aborted) throw new BerthError('shutting_down', 'Berth is shutting down; ask again in a moment.')
      return { instance: presentInstance(waited.instance), timedOut: waited.timedOut }
    },
  })

  app.post('/instances/:instance/volumes', {
    schema: {
      tags,
      operationId: 'attachVolume',
      summary: 'Attach a volume, to a running instance too',
      params,
      body: AttachVolumeBody,
      response: { 200: InstanceRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      const mount = await acceptMount(request.body, volumeIdFinder(caller))
      return presentInstance(await engine.instances.attachVolume(caller, id, mount))
    },
  })

  app.delete('/instances/:instance/volumes/:volume', {
    schema: {
      tags,
      operationId: 'detachVolume',
      summary: 'Detach a volume',
      params: InstanceVolumeParams,
      response: { 200: InstanceRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      const volume = await findVolume(engine, caller, request.params.volume)
      return presentInstance(await engine.instances.detachVolume(caller, id, volume.id))
    },
  })
}
