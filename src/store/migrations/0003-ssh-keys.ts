/** SSH keys: public ones, of a project. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const sshKeys: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('ssh_keys')
      .addColumn('id', 'text', (column) => column.primaryKey().notNull())
      .addColumn('project_id', 'text', (column) => column.notNull())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('public_key', 'text', (column) => column.notNull())
      .addColumn('created_at', 'double precision', (column) => column.notNull())
      .addUniqueConstraint('ssh_keys_name', ['project_id', 'name'])
      .execute()
  },
}
