import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import type { Surface } from './surface.ts'
import { deleteVolume, getVolume, listVolumes } from './volumes.ts'

const ID = '11111111-1111-4111-8111-111111111111'
const volume = { id: ID, projectId: 'p', name: 'data', sizeBytes: 2 ** 30, tags: { 'koyeb-region': 'fra' }, status: 'ready', error: null, createdAt: 0, attachments: [{ instanceId: 'gone' }] }

test('an instance that ends between two looks takes no volume out of the answers', async () => {
  // What the engine tells in that moment: the volumes of before, and the instances of after.
  const surface = {
    options: { now: () => 0 },
    engine: {
      volumes: { list: async () => [volume], delete: async () => undefined },
      instances: {
        list: async () => [],
        get: async () => {
          throw new BerthError('not_found', 'There is no instance gone.')
        },
      },
    },
  } as unknown as Surface
  const request = { query: {}, params: { id: ID }, koyebIdentity: { projectId: 'p' } } as unknown as FastifyRequest
  const { volumes } = (await listVolumes(surface, request)) as { volumes: readonly { status: string; service_id: string }[] }
  assert.deepEqual(volumes.map(({ status, service_id: serviceId }) => [status, serviceId]), [['PERSISTENT_VOLUME_STATUS_DETACHED', '']])
  assert.equal(((await getVolume(surface, request)) as { volume: { status: string } }).volume.status, 'PERSISTENT_VOLUME_STATUS_DETACHED')
  assert.equal(((await deleteVolume(surface, request)) as { volume: { status: string } }).volume.status, 'PERSISTENT_VOLUME_STATUS_DELETED')
})
