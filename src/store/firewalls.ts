/** Firewall rulesets, the rules that all of a project's firewalls have, and which instances have a firewall. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import type { FirewallRule, FirewallRuleset, FirewallRulesetId, InstanceId, ProjectId } from '../instance/model.ts'
import type { Database } from './schema.ts'

export function readFirewalls(db: Kysely<Database>): Pick<StoreReader, 'firewallRulesets' | 'globalFirewallRules' | 'firewallUsers'> {
  return {
    async firewallRulesets(projectId) {
      const rows = await db.selectFrom('firewall_rulesets').selectAll().where('project_id', '=', projectId).orderBy('created_at').orderBy('id').execute()
      return rows.map(fromRow)
    },
    async globalFirewallRules(projectId) {
      const row = await db.selectFrom('firewall_rules').select('rules').where('project_id', '=', projectId).executeTakeFirst()
      return row === undefined ? null : (JSON.parse(row.rules) as readonly FirewallRule[])
    },
    async firewallUsers(projectId) {
      const ofProject = projectId === null ? sql`` : sql`and project_id = ${projectId}`
      const { rows } = await sql<{ id: string; rulesets: string }>`
        select id, json_extract(spec, '$.firewallRulesets') as rulesets from instances
        where phase <> 'deleted' and json_type(spec, '$.firewallRulesets') = 'array' ${ofProject}
        order by created_at, id`.execute(db)
      return rows.map(({ id, rulesets }) => ({ instanceId: id as InstanceId, rulesetIds: JSON.parse(rulesets) as readonly FirewallRulesetId[] }))
    },
  }
}

export function writeFirewalls(db: Kysely<Database>): Pick<StoreTx, 'putFirewallRuleset' | 'deleteFirewallRuleset' | 'putGlobalFirewallRules'> {
  return {
    async putFirewallRuleset({ id, projectId, name, region, rules, createdAt }) {
      const columns = { project_id: projectId, name, region, rules: JSON.stringify(rules), created_at: createdAt }
      await db
        .insertInto('firewall_rulesets')
        .values({ id, ...columns })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
        .execute()
    },
    async deleteFirewallRuleset(id) {
      await db.deleteFrom('firewall_rulesets').where('id', '=', id).execute()
    },
    async putGlobalFirewallRules(projectId, rules) {
      const columns = { rules: JSON.stringify(rules) }
      await db
        .insertInto('firewall_rules')
        .values({ project_id: projectId, ...columns })
        .onConflict((conflict) => conflict.column('project_id').doUpdateSet(columns))
        .execute()
    },
  }
}

function fromRow(row: Database['firewall_rulesets']): FirewallRuleset {
  return {
    id: row.id as FirewallRulesetId,
    projectId: row.project_id as ProjectId,
    name: row.name,
    region: row.region,
    rules: JSON.parse(row.rules) as readonly FirewallRule[],
    createdAt: row.created_at,
  }
}
