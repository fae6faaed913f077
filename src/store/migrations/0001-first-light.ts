/** The first tables: instances and their events, images, volumes, projects, keys, reservations. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const firstLight: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await instances(db)
    await events(db)
    await content(db)
    await access(db)
    await reservations(db)
  },
}

async function instances(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('instances')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('tags', 'text', (column) => column.notNull())
    .addColumn('spec', 'text', (column) => column.notNull())
    .addColumn('image_digest', 'text')
    .addColumn('desired', 'text', (column) => column.notNull())
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('phase_since', 'double precision', (column) => column.notNull())
    .addColumn('reason', 'text')
    .addColumn('error_code', 'text')
    .addColumn('host_id', 'text')
    .addColumn('address', 'text')
    .addColumn('generation', 'integer', (column) => column.notNull())
    .addColumn('exit', 'text')
    .addColumn('restart_attempts', 'integer', (column) => column.notNull())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .addColumn('started_at', 'double precision')
    .addColumn('stopped_at', 'double precision')
    .addColumn('deleted_at', 'double precision')
    .addColumn('origin', 'text', (column) => column.notNull())
    .addColumn('annotations', 'text', (column) => column.notNull())
    .execute()
  await db.schema
    .createIndex('instances_living_name')
    .unique()
    .on('instances')
    .columns(['project_id', 'name'])
    .where(sql.ref('phase'), '<>', 'deleted')
    .execute()
  await db.schema
    .createIndex('instances_living_project')
    .on('instances')
    .columns(['project_id', 'created_at', 'id'])
    .where(sql.ref('phase'), '<>', 'deleted')
    .execute()
  await db.schema
    .createIndex('instances_living')
    .on('instances')
    .columns(['created_at', 'id'])
    .where(sql.ref('phase'), '<>', 'deleted')
    .execute()
  await db.schema.createIndex('instances_project').on('instances').columns(['project_id', 'created_at', 'id']).execute()
}

async function events(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('events')
    .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement().notNull())
    .addColumn('instance_id', 'text', (column) => column.notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('at', 'double precision', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('from_phase', 'text')
    .addColumn('to_phase', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .execute()
  await db.schema.createIndex('events_instance').on('events').columns(['instance_id', 'seq']).execute()
  await db.schema.createIndex('events_project').on('events').columns(['project_id', 'seq']).execute()
}

async function content(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('images')
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('digest', 'text')
    .addColumn('size_bytes', 'bigint')
    .addColumn('config', 'text')
    .addColumn('error', 'text')
    .addColumn('queue_position', 'integer')
    .addColumn('progress', 'double precision')
    .addColumn('tags', 'text', (column) => column.notNull())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .addColumn('updated_at', 'double precision', (column) => column.notNull())
    .addPrimaryKeyConstraint('images_key', ['project_id', 'name'])
    .execute()
  await db.schema
    .createTable('volumes')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('size_bytes', 'bigint', (column) => column.notNull())
    .addColumn('tags', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('error', 'text')
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('volumes_project').on('volumes').columns(['project_id', 'created_at', 'id']).execute()
  await db.schema
    .createTable('attachments')
    .addColumn('volume_id', 'text', (column) => column.notNull().references('volumes.id'))
    .addColumn('instance_id', 'text', (column) => column.notNull())
    .addColumn('path', 'text', (column) => column.notNull())
    .addColumn('mode', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('attachments_key', ['volume_id', 'instance_id'])
    .execute()
}

async function access(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('projects')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('guest_to_guest', 'integer', (column) => column.notNull())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('keys')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .addColumn('last_used_at', 'double precision')
    .addColumn('expires_at', 'double precision')
    .execute()
  await db.schema
    .createTable('idempotency')
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('key', 'text', (column) => column.notNull())
    .addColumn('request_hash', 'text', (column) => column.notNull())
    .addColumn('instance_id', 'text', (column) => column.notNull())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .addPrimaryKeyConstraint('idempotency_key', ['project_id', 'key'])
    .execute()
  await db.schema.createIndex('idempotency_age').on('idempotency').column('created_at').execute()
}

async function reservations(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('reservations')
    .addColumn('instance_id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('host_id', 'text', (column) => column.notNull())
    .addColumn('vcpus', 'integer', (column) => column.notNull())
    .addColumn('memory_bytes', 'bigint', (column) => column.notNull())
    .addColumn('disk_bytes', 'bigint', (column) => column.notNull())
    .addColumn('ip', 'text')
    .execute()
  await db.schema.createIndex('reservations_host').on('reservations').column('host_id').execute()
  await db.schema
    .createIndex('reservations_address')
    .unique()
    .on('reservations')
    .columns(['host_id', 'ip'])
    .where('ip', 'is not', null)
    .execute()
  await db.schema
    .createTable('reserved_ports')
    .addColumn('host_id', 'text', (column) => column.notNull())
    .addColumn('port', 'text', (column) => column.notNull())
    .addColumn('instance_id', 'text', (column) => column.notNull().references('reservations.instance_id').onDelete('cascade'))
    .addPrimaryKeyConstraint('reserved_ports_key', ['host_id', 'port'])
    .execute()
  await db.schema.createIndex('reserved_ports_instance').on('reserved_ports').column('instance_id').execute()
}
