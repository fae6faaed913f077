/** Which firewall rules are in force for an instance: the project's global ones and those of its rulesets. */
import { DEFAULT_FIREWALL_RULES } from '../instance/firewall.ts'
import type { FirewallRule, Instance, ProjectId } from '../instance/model.ts'
import type { StoreReader } from './store-port.ts'

/** All that may reach an instance; null if it has no firewall. */
export async function firewallOf(reader: Pick<StoreReader, 'globalFirewallRules' | 'firewallRulesets'>, instance: Pick<Instance, 'projectId' | 'spec'>): Promise<readonly FirewallRule[] | null> {
  const wanted = instance.spec.firewallRulesets
  if (wanted === null) return null
  const [globalRules, rulesets] = await Promise.all([globalRulesOf(reader, instance.projectId), reader.firewallRulesets(instance.projectId)])
  return [...globalRules, ...rulesets.filter(({ id }) => wanted.includes(id)).flatMap(({ rules }) => rules)]
}

/** Of every firewall in the project. */
export async function globalRulesOf(reader: Pick<StoreReader, 'globalFirewallRules'>, projectId: ProjectId): Promise<readonly FirewallRule[]> {
  return (await reader.globalFirewallRules(projectId)) ?? DEFAULT_FIREWALL_RULES
}
