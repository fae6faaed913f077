/** Firewall rules of the whole project, and rulesets for the instances that are launched with them. */
import type { FastifyRequest } from 'fastify'
import type { FirewallRulesetView } from '../../engine/firewalls.ts'
import { BerthError } from '../../instance/errors.ts'
import { FIREWALL_RULES_LIMIT, networkOf } from '../../instance/firewall.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import type { FirewallRule, FirewallRulesetId } from '../../instance/model.ts'
import type { Json } from './body.ts'
import { asList, asObject, optionalText, quoted, readBody, requiredText } from './body.ts'
import { fieldError, objectMissing, wordedError } from './errors.ts'
import { findRegion } from './launch-names.ts'
import { presentRegionOf } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, pathId } from './surface.ts'
import { timestamp } from './timestamp.ts'

const NAME_LIMIT_CHARACTERS = 64
const PROTOCOLS = ['tcp', 'udp', 'icmp', 'all'] as const
const GLOBAL_NAME = 'Global'

export async function getFirewallRules(surface: Surface, request: FastifyRequest): Promise<readonly wire.FirewallRule[]> {
  return (await surface.engine.firewalls.globalRules(callerOf(request))).map(presentRule)
}

export async function putFirewallRules(surface: Surface, request: FastifyRequest): Promise<readonly wire.FirewallRule[]> {
  const caller = callerOf(request)
  const rules = acceptRules('data', requireList('data', readBody(request)['data']))
  return (await surface.engine.firewalls.setGlobalRules(caller, rules)).map(presentRule)
}

export async function getGlobalRuleset(surface: Surface, request: FastifyRequest): Promise<wire.GlobalFirewallRuleset> {
  return { id: 'global', name: GLOBAL_NAME, rules: await getFirewallRules(surface, request) }
}

export async function updateGlobalRuleset(surface: Surface, request: FastifyRequest): Promise<wire.GlobalFirewallRuleset> {
  const caller = callerOf(request)
  const given = readBody(request)['rules']
  if (given === undefined || given === null) return getGlobalRuleset(surface, request)
  const rules = await surface.engine.firewalls.setGlobalRules(caller, acceptRules('rules', given))
  return { id: 'global', name: GLOBAL_NAME, rules: rules.map(presentRule) }
}

export async function listRulesets(surface: Surface, request: FastifyRequest): Promise<readonly wire.FirewallRuleset[]> {
  return (await surface.engine.firewalls.list(callerOf(request))).map(ruleset => present(surface, ruleset))
}

export async function createRuleset(surface: Surface, request: FastifyRequest): Promise<wire.FirewallRuleset> {
  const caller = callerOf(request)
  const body = readBody(request)
  const name = acceptName(requiredText('name', body['name']))
  const region = findRegion(surface, requiredText('region', body['region']))
  const rules = acceptRules('rules', requireList('rules', body['rules']))
  return present(surface, await surface.engine.firewalls.create(caller, { name, region: region.id, rules }))
}

export async function getRuleset(surface: Surface, request: FastifyRequest): Promise<wire.FirewallRuleset> {
  const caller = callerOf(request)
  return present(surface, await found(request, id => surface.engine.firewalls.get(caller, id)))
}

export async function updateRuleset(surface: Surface, request: FastifyRequest): Promise<wire.FirewallRuleset> {
  const caller = callerOf(request)
  const body = readBody(request)
  const name = optionalText('name', body['name'])
  const rules = body['rules']
  const change = {
    ...(name === null ? {} : { name: acceptName(name) }),
    ...(rules === undefined || rules === null ? {} : { rules: acceptRules('rules', rules) }),
  }
  return present(surface, await found(request, id => surface.engine.firewalls.update(caller, id, change)))
}

export async function deleteRuleset(surface: Surface, request: FastifyRequest): Promise<Readonly<Record<string, never>>> {
  const caller = callerOf(request)
  await found(request, id => surface.engine.firewalls.delete(caller, id))
  return {}
}

export function spellRulesetId(id: FirewallRulesetId): string {
  return spellId('firewallRuleset', DIALECT, id)
}

async function found<T>(request: FastifyRequest, work: (id: FirewallRulesetId) => Promise<T>): Promise<T> {
  const id = parseId('firewallRuleset', DIALECT, pathId(request))
  if (id === null) throw rulesetMissing()
  try {
    return await work(id)
  } catch (error) {
    if (error instanceof BerthError && error.code === 'not_found') throw rulesetMissing(error)
    if (error instanceof BerthError && error.code === 'volume_in_use') throw wordedError('rulesetInUse', error.message, error)
    throw error
  }
}

function rulesetMissing(cause?: unknown): BerthError {
  return objectMissing('Firewall ruleset does not exist or you do not have permission to access it.', 'Check your firewall ruleset ID and try again.', cause)
}

function requireList(field: string, value: unknown): unknown {
  if (value === undefined || value === null) throw fieldError(field, 'it is required')
  return value
}

function acceptName(name: string): string {
  const length = Array.from(name).length
  if (length < 1 || length > NAME_LIMIT_CHARACTERS) throw fieldError('name', `it has ${length} characters; 1 to ${NAME_LIMIT_CHARACTERS} are allowed`)
  return name
}

function acceptRules(field: string, value: unknown): readonly FirewallRule[] {
  return asList(field, value, FIREWALL_RULES_LIMIT).map((item, index) => acceptRule(`${field}[${index}]`, asObject(`${field}[${index}]`, item)))
}

function acceptRule(field: string, rule: Json): FirewallRule {
  const named = requiredText(`${field}.protocol`, rule['protocol'])
  const protocol = PROTOCOLS.find(known => known === named)
  if (protocol === undefined) throw fieldError(`${field}.protocol`, `${quoted(named)} is none of ${PROTOCOLS.join(', ')}`)
  const given = requiredText(`${field}.source_network`, rule['source_network'])
  const source = networkOf(given)
  if (source === null) throw fieldError(`${field}.source_network`, `${quoted(given)} is no network: write one like 0.0.0.0/0 or an address`)
  return { protocol, ports: acceptPorts(`${field}.port_range`, protocol, rule['port_range']), source, description: optionalText(`${field}.description`, rule['description']) ?? '' }
}

function acceptPorts(field: string, protocol: FirewallRule['protocol'], value: unknown): FirewallRule['ports'] {
  if (value === undefined || value === null) {
    if (protocol === 'tcp' || protocol === 'udp') throw fieldError(field, `it is required for ${protocol}`)
    return null
  }
  if (protocol === 'icmp') throw fieldError(field, 'ICMP has no ports: leave it out')
  const [first, last, ...more] = asList(field, value, 2)
  const arePorts = [first, last].every(port => typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535)
  if (more.length > 0 || !arePorts || Number(first) > Number(last)) throw fieldError(field, 'it must be two ports from 1 to 65535, the lower first')
  return [Number(first), Number(last)]
}

function presentRule({ protocol, ports, source, description }: FirewallRule): wire.FirewallRule {
  const range = protocol === 'icmp' ? null : (ports ?? [1, 65_535])
  return { protocol, ...(range === null ? {} : { port_range: range }), source_network: source, description }
}

function present(surface: Surface, ruleset: FirewallRulesetView): wire.FirewallRuleset {
  return {
    id: spellRulesetId(ruleset.id),
    name: ruleset.name,
    region: presentRegionOf(surface.catalogue, ruleset.region),
    rules: ruleset.rules.map(presentRule),
    created: timestamp(ruleset.createdAt),
    instance_ids: ruleset.instanceIds.map(id => spellId('instance', DIALECT, id)),
  }
}
