/** `/berth/v1/snapshots`, and forks: copies of instances, kept, gone back to, or made into new ones. */
import { Type } from 'typebox'
import type { FastifyReply } from 'fastify'
import type { Caller } from '../../../engine/api.ts'
import type { Instance } from '../../../instance/model.ts'
import type { Phase } from '../../../instance/phase.ts'
import type { ForkTarget } from '../../../instance/snapshot.ts'
import { acceptTagFilter } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentInstance, presentSnapshot } from '../present.ts'
import { findInstance, findSnapshot, instanceIdOf } from '../resolve.ts'
import { ActQuery, InstanceParams } from '../schema/instance-requests.ts'
import { page } from '../schema/page.ts'
import { CreateSnapshotBody, ForkBody, ListSnapshotsQuery, RestoreSnapshotBody, SnapshotParams } from '../schema/snapshots.ts'
import { settle } from '../settle.ts'
import { clientSignal } from '../stream.ts'

const tags = ['snapshots']
const SnapshotRef = Type.Ref('Snapshot#')
const InstanceRef = Type.Ref('Instance#')
const REACHED: Readonly<Record<ForkTarget, readonly Phase[]>> = { running: ['running', 'unhealthy'], standby: ['standby'], stopped: ['stopped'] }

interface WaitWish {
  readonly wait?: boolean
  readonly timeoutMs?: number
}

export const snapshotRoutes: AddRoutes = (app, { engine, stopping }) => {
  /** The record, or with `wait` what became of it. */
  const answer = async (caller: Caller, recorded: Instance, { wait, timeoutMs }: WaitWish, reply: FastifyReply) => {
    const { desired } = recorded
    const until = desired === 'deleted' ? [] : REACHED[desired]
    const now = wait === true ? await settle(engine, caller, recorded, { until, timeoutMs, signal: clientSignal(reply, stopping) }) : recorded
    return presentInstance(now)
  }

  app.post('/instances/:instance/fork', {
    schema: {
      tags,
      operationId: 'forkInstance',
      summary: 'Make another instance that goes on from here',
      description: 'With the memory of one that runs or sleeps, from the disks of one that is stopped. Without `target` it ends in the state that its source is in. The source stands still for a moment and runs on.',
      params: InstanceParams,
      querystring: ActQuery,
      body: ForkBody,
      response: { 201: InstanceRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      const fork = await engine.snapshots.forkInstance(caller, id, { ...request.body, fromRunning: true })
      return reply.code(201).send(await answer(caller, fork, request.query, reply))
    },
  })

  app.post('/instances/:instance/snapshots', {
    schema: {
      tags,
      operationId: 'createSnapshot',
      summary: 'Keep the instance as it is now',
      description: 'Answers when the snapshot is there. Of an instance that runs or sleeps it holds memory and disks, of a stopped one its disks. A name is unique among the snapshots of an instance.',
      params: InstanceParams,
      body: Type.Union([CreateSnapshotBody, Type.Null()]),
      response: { 201: SnapshotRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      return reply.code(201).send(presentSnapshot(await engine.snapshots.create(caller, id, request.body ?? {})))
    },
  })

  app.get('/snapshots', {
    schema: { tags, operationId: 'listSnapshots', summary: 'List snapshots, newest first', querystring: ListSnapshotsQuery, response: { 200: page(SnapshotRef) } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { instance, tag, limit, cursor, ...filter } = request.query
      const wanted = acceptTagFilter(tag)
      const all = await engine.snapshots.list(caller, {
        ...filter,
        ...(instance === undefined ? {} : { sourceId: await instanceIdOf(engine, caller, instance) }),
        ...(wanted === null ? {} : { tags: wanted }),
      })
      const { items, next } = pageOf(all, { limit, cursor }, ({ createdAt, id }) => [-createdAt, id])
      return { items: items.map(presentSnapshot), next }
    },
  })

  app.get('/snapshots/:snapshot', {
    schema: { tags, operationId: 'getSnapshot', summary: 'One snapshot', params: SnapshotParams, response: { 200: SnapshotRef } },
    handler: async (request) => presentSnapshot(await findSnapshot(engine, callerOf(request), request.params.snapshot)),
  })

  app.delete('/snapshots/:snapshot', {
    schema: {
      tags,
      operationId: 'deleteSnapshot',
      summary: 'Delete a snapshot',
      description: '`invalid_state` while an instance is being made from it.',
      params: SnapshotParams,
      response: { 204: Type.Null() },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findSnapshot(engine, caller, request.params.snapshot)
      await engine.snapshots.delete(caller, id)
      return reply.code(204).send(null)
    },
  })

  app.post('/snapshots/:snapshot/restore', {
    schema: {
      tags,
      operationId: 'restoreSnapshot',
      summary: 'Let the instance that it was taken of become that again',
      description: 'The instance must not run; what it has now is lost. Its name, address and identity stay.',
      params: SnapshotParams,
      querystring: ActQuery,
      body: Type.Union([RestoreSnapshotBody, Type.Null()]),
      response: { 200: InstanceRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id, sourceId } = await findSnapshot(engine, caller, request.params.snapshot)
      return answer(caller, await engine.snapshots.restore(caller, sourceId, id, request.body ?? {}), request.query, reply)
    },
  })

  app.post('/snapshots/:snapshot/fork', {
    schema: {
      tags,
      operationId: 'forkSnapshot',
      summary: 'Make an instance from a snapshot',
      description: 'Without `target` it runs if the snapshot holds memory, and is stopped otherwise.',
      params: SnapshotParams,
      querystring: ActQuery,
      body: ForkBody,
      response: { 201: InstanceRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findSnapshot(engine, caller, request.params.snapshot)
      return reply.code(201).send(await answer(caller, await engine.snapshots.forkSnapshot(caller, id, request.body), request.query, reply))
    },
  })
}
