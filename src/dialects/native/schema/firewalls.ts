/** Firewalls: rules with a name, and those that all firewalls of a project have. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { FIREWALL_DESCRIPTION_LIMIT_CHARACTERS, FIREWALL_RULES_LIMIT } from '../../../instance/firewall.ts'
import { Count, Text, Time, closed, nullable } from './words.ts'

const PROTOCOLS = ['tcp', 'udp', 'icmp', 'all'] as const
const Word = Type.String({ minLength: 1, maxLength: 128, description: 'Id or name of the ruleset.' })

export const FirewallRuleRequest = Type.Object(
  {
    protocol: Type.Enum(PROTOCOLS),
    ports: Type.Optional(nullable(Type.Array(Count('Port.', 1, 65_535), { minItems: 2, maxItems: 2 }), 'First and last; null is every port. ICMP has none.')),
    source: Type.Optional(Type.String({ maxLength: 32, description: 'Network like 10.0.0.0/8, or an address; default anywhere.' })),
    description: Type.Optional(Type.String({ maxLength: FIREWALL_DESCRIPTION_LIMIT_CHARACTERS * 2 })),
  },
  closed,
)
export type FirewallRuleRequest = Static<typeof FirewallRuleRequest>

const Rules = Type.Array(FirewallRuleRequest, { maxItems: FIREWALL_RULES_LIMIT, description: 'What is let in.' })

export const CreateFirewallBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    rules: Type.Optional(Rules),
    region: Type.Optional(Type.String({ maxLength: 64, description: 'Region of the catalogue, for dialects that ask for one; default this machine.' })),
  },
  closed,
)
export const UpdateFirewallBody = Type.Object({ name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })), rules: Type.Optional(Rules) }, { minProperties: 1, ...closed })
export const FirewallRulesBody = Type.Object({ rules: Rules }, closed)
export const SetFirewallBody = Type.Object(
  { firewalls: nullable(Type.Array(Word, { maxItems: 64 }), 'All rulesets that it shall have, beside the global rules; null takes the firewall away.') },
  closed,
)
export const AddFirewallBody = Type.Object({ firewall: Word }, closed)

const Rule = Type.Object({
  protocol: Type.Enum(PROTOCOLS),
  ports: nullable(Type.Array(Type.Integer()), 'First and last; null is every port, or ICMP.'),
  source: Text('The network that may.'),
  description: Type.String(),
})
export type FirewallRuleBody = Static<typeof Rule>

export const FirewallBody = Type.Object(
  {
    id: Type.String(),
    projectId: Type.String(),
    name: Text('Need not be unique.'),
    region: Type.String(),
    rules: Type.Array(Rule, { description: 'What it lets in, beside the global rules.' }),
    instanceIds: Type.Array(Type.String(), { description: 'Living instances that have it.' }),
    createdAt: Time('When it was made.'),
  },
  { $id: 'Firewall' },
)
export type FirewallBody = Static<typeof FirewallBody>

export const GlobalRulesBody = Type.Object({ rules: Type.Array(Rule) }, { $id: 'GlobalFirewallRules' })
export type GlobalRulesBody = Static<typeof GlobalRulesBody>

export const FirewallParams = Type.Object({ firewall: Type.String({ minLength: 1, description: 'Id or name of the ruleset.' }) })
export const InstanceFirewallParams = Type.Object({ instance: Type.String({ minLength: 1 }), firewall: Type.String({ minLength: 1, description: 'Id or name of the ruleset.' }) })
