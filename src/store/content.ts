/** Images, volumes, and which volume is attached where. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { Image, ImageConfig, ImageDigest, InstanceId, ProjectId, Volume, VolumeId } from '../instance/model.ts'
import type { AttachmentRow, Database, ImageRow, VolumeRow } from './schema.ts'
import { isOneOf, isViolatedReference } from './sqlite.ts'

type ContentReads = 'image' | 'images' | 'volume' | 'volumes'
type ContentWrites = 'putImage' | 'deleteImage' | 'putVolume' | 'deleteVolume' | 'putAttachment' | 'deleteAttachment'

export function readContent(db: Kysely<Database>): Pick<StoreReader, ContentReads> {
  return {
    async image(projectId, name) {
      const select = db.selectFrom('images').selectAll().where('project_id', '=', projectId).where('name', '=', name)
      const row = await select.executeTakeFirst()
      return row === undefined ? null : imageFromRow(row)
    },
    async images(projectId) {
      let select = db.selectFrom('images').selectAll()
      if (projectId !== null) select = select.where('project_id', '=', projectId)
      return (await select.orderBy('created_at', 'desc').orderBy('name').execute()).map(imageFromRow)
    },
    async volume(id) {
      const row = await db.selectFrom('volumes').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined) return null
      return volumeFromRow(row, await db.selectFrom('attachments').selectAll().where('volume_id', '=', id).execute())
    },
    async volumes(query) {
      let select = db.selectFrom('volumes').selectAll()
      if (query.projectId !== null) select = select.where('project_id', '=', query.projectId)
      if (query.name !== undefined) select = select.where('name', '=', query.name)
      const rows = await select.orderBy('created_at', 'desc').orderBy('id', 'desc').execute()
      if (rows.length === 0) return []
      const ids = rows.map((row) => row.id)
      const attached = await db.selectFrom('attachments').selectAll().where(isOneOf('volume_id', ids)).execute()
      const byVolume = Map.groupBy(attached, (attachment) => attachment.volume_id)
      return rows.map((row) => volumeFromRow(row, byVolume.get(row.id) ?? []))
    },
  }
}

export function writeContent(db: Kysely<Database>): Pick<StoreTx, ContentWrites> {
  return {
    async putImage(image) {
      const { project_id, name, ...columns } = imageToRow(image)
      await db
        .insertInto('images')
        .values({ project_id, name, ...columns })
        .onConflict((conflict) => conflict.columns(['project_id', 'name']).doUpdateSet(columns))
        .execute()
    },
    async deleteImage(projectId, name) {
      await db.deleteFrom('images').where('project_id', '=', projectId).where('name', '=', name).execute()
    },
    async putVolume(volume) {
      const { id, project_id, ...columns } = volumeToRow(volume)
      const done = await db
        .insertInto('volumes')
        .values({ id, project_id, ...columns })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(columns).where('volumes.project_id', '=', project_id))
        .executeTakeFirst()
      // Ids may be chosen by clients, so another project may have been first.
      if (done.numInsertedOrUpdatedRows === 0n) throw new BerthError('already_exists', `The volume id ${id} is taken: choose another.`)
    },
    async deleteVolume(id) {
      try {
        await db.deleteFrom('volumes').where('id', '=', id).execute()
      } catch (error) {
        if (!isViolatedReference(error)) throw error
        throw new BerthError('volume_in_use', `The volume ${id} is attached to an instance: detach it first.`, { cause: error })
      }
    },
    async putAttachment(volumeId, attachment) {
      const columns = { path: attachment.path, mode: attachment.mode }
      try {
        await db
          .insertInto('attachments')
          .values({ volume_id: volumeId, instance_id: attachment.instanceId, ...columns })
          .onConflict((conflict) => conflict.columns(['volume_id', 'instance_id']).doUpdateSet(columns))
          .execute()
      } catch (error) {
        if (!isViolatedReference(error)) throw error
        throw new BerthError('volume_not_found', `There is no volume ${volumeId}.`, { cause: error })
      }
    },
    async deleteAttachment(volumeId, instanceId) {
      await db.deleteFrom('attachments').where('volume_id', '=', volumeId).where('instance_id', '=', instanceId).execute()
    },
  }
}

function imageToRow(image: Image): ImageRow {
  return {
    project_id: image.projectId,
    name: image.name,
    status: image.status,
    digest: image.digest,
    size_bytes: image.sizeBytes,
    config: image.config === null ? null : JSON.stringify(image.config),
    error: image.error,
    queue_position: image.queuePosition,
    progress: image.progress,
    tags: JSON.stringify(image.tags),
    created_at: image.createdAt,
    updated_at: image.updatedAt,
  }
}

function imageFromRow(row: ImageRow): Image {
  return {
    projectId: row.project_id as ProjectId,
    name: row.name,
    status: row.status,
    digest: row.digest as ImageDigest | null,
    sizeBytes: row.size_bytes,
    config: row.config === null ? null : (JSON.parse(row.config) as ImageConfig),
    error: row.error,
    queuePosition: row.queue_position,
    progress: row.progress,
    tags: JSON.parse(row.tags) as Image['tags'],
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}

function volumeToRow(volume: Volume): VolumeRow {
  return {
    id: volume.id,
    project_id: volume.projectId,
    name: volume.name,
    size_bytes: volume.sizeBytes,
    tags: JSON.stringify(volume.tags),
    status: volume.status,
    error: volume.error,
    created_at: volume.createdAt,
  }
}

function volumeFromRow(row: VolumeRow, attachments: readonly AttachmentRow[]): Volume {
  return {
    id: row.id as VolumeId,
    projectId: row.project_id as ProjectId,
    name: row.name,
    sizeBytes: row.size_bytes,
    tags: JSON.parse(row.tags) as Volume['tags'],
    status: row.status,
    error: row.error,
    createdAt: row.created_at,
    attachments: attachments.map(({ instance_id, path, mode }) => ({ instanceId: instance_id as InstanceId, path, mode })),
  }
}
