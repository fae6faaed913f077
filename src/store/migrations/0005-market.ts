/** The market: orders and their story, what each market was at, and what each instance was priced at. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'
import { ORDER_ANNOTATION } from '../schema.ts'

export const market: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await orders(db)
    await points(db)
    await periods(db)
    await sql`create index instances_by_market_order on instances (json_extract(annotations, ${sql.lit(`$.${ORDER_ANNOTATION}`)}), created_at, id)
      where json_extract(annotations, ${sql.lit(`$.${ORDER_ANNOTATION}`)}) is not null`.execute(db)
  },
}

async function orders(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('market_orders')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('region', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('is_live', 'integer', (column) => column.notNull())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .addColumn('record', 'text', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('market_orders_project').on('market_orders').columns(['kind', 'project_id', 'created_at', 'id']).execute()
  await db.schema
    .createIndex('market_orders_live')
    .on('market_orders')
    .columns(['kind', 'created_at', 'id'])
    .where(sql.ref('is_live'), '=', sql.lit(1))
    .execute()
  await db.schema
    .createTable('market_events')
    .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement().notNull())
    .addColumn('order_id', 'text', (column) => column.notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('at', 'double precision', (column) => column.notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('details', 'text', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('market_events_order').on('market_events').columns(['order_id', 'seq']).execute()
}

async function points(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('market_points')
    .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement().notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('region', 'text', (column) => column.notNull())
    .addColumn('at', 'double precision', (column) => column.notNull())
    .addColumn('spot_micros', 'bigint', (column) => column.notNull())
    .addColumn('capacity', 'integer', (column) => column.notNull())
    .addColumn('allocated', 'integer', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('market_points_market').on('market_points').columns(['region', 'type', 'at']).execute()
}

async function periods(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('price_periods')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('instance_id', 'text', (column) => column.notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('order_id', 'text')
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('type', 'text')
    .addColumn('region', 'text', (column) => column.notNull())
    .addColumn('price_micros', 'bigint', (column) => column.notNull())
    .addColumn('start_at', 'double precision', (column) => column.notNull())
    .addColumn('end_at', 'double precision')
    .execute()
  await db.schema.createIndex('price_periods_instance').on('price_periods').columns(['instance_id', 'start_at']).execute()
  await db.schema.createIndex('price_periods_project').on('price_periods').columns(['project_id', 'start_at', 'id']).execute()
  await db.schema.createIndex('price_periods_order').on('price_periods').columns(['order_id', 'start_at']).where(sql.ref('order_id'), 'is not', null).execute()
  await db.schema.createIndex('price_periods_open').on('price_periods').columns(['kind', 'region', 'type']).where(sql.ref('end_at'), 'is', null).execute()
}
