/** Shared file systems and firewalls of projects; instances of before have neither. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const fileSystems: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('file_systems')
      .addColumn('id', 'text', (column) => column.primaryKey().notNull())
      .addColumn('project_id', 'text', (column) => column.notNull())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('region', 'text', (column) => column.notNull())
      .addColumn('size_bytes', 'double precision', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('created_at', 'double precision', (column) => column.notNull())
      .addColumn('created_by', 'text')
      .addUniqueConstraint('file_systems_name', ['project_id', 'name'])
      .execute()
    await db.schema
      .createTable('firewall_rulesets')
      .addColumn('id', 'text', (column) => column.primaryKey().notNull())
      .addColumn('project_id', 'text', (column) => column.notNull())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('region', 'text', (column) => column.notNull())
      .addColumn('rules', 'text', (column) => column.notNull())
      .addColumn('created_at', 'double precision', (column) => column.notNull())
      .execute()
    await db.schema.createIndex('firewall_rulesets_project').on('firewall_rulesets').column('project_id').execute()
    await db.schema
      .createTable('firewall_rules')
      .addColumn('project_id', 'text', (column) => column.primaryKey().notNull())
      .addColumn('rules', 'text', (column) => column.notNull())
      .execute()
    await sql`update instances set spec = json_set(spec, '$.fileSystems', json('[]'), '$.firewallRulesets', json('null'))`.execute(db)
  },
}
