/**
 * Firewalls: an instance that has one is reached only by what the project's global rules and its own rulesets let in.
 *
 * A change is recorded, then put to every instance that it is about, each in its own line, so that a start with older
 * rules can't come after it. Whoever changes rules waits for that; what a crash cuts off is done at the next start.
 */
import type { AuditTarget } from '../instance/audit.ts'
import { BerthError } from '../instance/errors.ts'
import { checkFirewallRules } from '../instance/firewall.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import type { FirewallRule, FirewallRuleset, FirewallRulesetId, Instance, InstanceId, InstanceSpec, ProjectId } from '../instance/model.ts'
import { checkLabel } from '../instance/names.ts'
import { holdsCompute } from '../instance/phase.ts'
import { ownInstance, requireScope } from './access.ts'
import type { Candidate } from './admission.ts'
import { candidatesOf } from './admission.ts'
import type { Caller } from './api.ts'
import { instanceTarget } from './audit.ts'
import type { Core } from './core.ts'
import { firewallOf, globalRulesOf } from './firewall-rules.ts'
import { withDeadline } from './fleet.ts'
import type { Reconciler } from './reconcile.ts'
import type { StoreReader } from './store-port.ts'
import { refOf } from './vm-spec.ts'

export const FIREWALL_RULESETS_PER_PROJECT_LIMIT = 100
/** Of one instance. */
export const FIREWALL_RULESETS_PER_INSTANCE_LIMIT = 10

export interface FirewallRulesetView extends FirewallRuleset {
  /** Instances that live and have it. */
  readonly instanceIds: readonly InstanceId[]
}

export interface Firewalls {
  /** Of every firewall in the project. */
  globalRules(caller: Caller): Promise<readonly FirewallRule[]>
  /** Resolves when they are in force. */
  setGlobalRules(caller: Caller, rules: readonly FirewallRule[]): Promise<readonly FirewallRule[]>
  create(caller: Caller, request: { readonly name: string; readonly region: string; readonly rules: readonly FirewallRule[] }): Promise<FirewallRulesetView>
  get(caller: Caller, id: FirewallRulesetId): Promise<FirewallRulesetView>
  /** Oldest first. */
  list(caller: Caller): Promise<readonly FirewallRulesetView[]>
  /** Resolves when the new rules are in force. */
  update(caller: Caller, id: FirewallRulesetId, change: { readonly name?: string; readonly rules?: readonly FirewallRule[] }): Promise<FirewallRulesetView>
  /** `volume_in_use` while an instance has it. */
  delete(caller: Caller, id: FirewallRulesetId): Promise<void>
  /** Changes what the firewall of a living instance has; resolves when it is in force. */
  assign(caller: Caller, instanceId: InstanceId, change: FirewallChange): Promise<Instance>
}

/** What becomes of an instance's firewall. */
export type FirewallChange =
  /** null takes it away, and with it every limit on what may reach the instance. */
  | { readonly set: readonly FirewallRulesetId[] | null }
  /** An instance without a firewall gets one. */
  | { readonly add: FirewallRulesetId }
  | { readonly remove: FirewallRulesetId }

export function makeFirewalls(core: Core, loop: Reconciler): Firewalls {
  const reader = core.store.read
  return {
    async globalRules(caller) {
      requireScope(caller, 'read')
      return globalRulesOf(reader, caller.projectId)
    },
    async setGlobalRules(caller, rules) {
      requireScope(caller, 'write')
      checkFirewallRules(rules)
      await core.store.transaction(async tx => {
        await tx.putGlobalFirewallRules(caller.projectId, rules)
        await core.audit.record(tx, caller, { action: 'firewall-rules.update', target: { kind: 'firewall-rules', id: null, name: null }, details: { rules: rules.length } })
      })
      await apply(core, loop, (await reader.firewallUsers(caller.projectId)).map(user => user.instanceId))
      return rules
    },
    async create(caller, { name, region, rules }) {
      requireScope(caller, 'write')
      checkLabel('firewall ruleset', name)
      checkFirewallRules(rules)
      const ruleset: FirewallRuleset = {
        id: newId('firewallRuleset', core.randomBytes(ID_BYTES)),
        projectId: caller.projectId,
        name,
        region,
        rules,
        createdAt: core.now(),
      }
      await core.store.transaction(async tx => {
        if ((await tx.firewallRulesets(caller.projectId)).length >= FIREWALL_RULESETS_PER_PROJECT_LIMIT) {
          throw new BerthError('limit_exceeded', `The project has ${FIREWALL_RULESETS_PER_PROJECT_LIMIT} firewall rulesets already: delete some.`)
        }
        await tx.putFirewallRuleset(ruleset)
        await core.audit.record(tx, caller, { action: 'firewall-ruleset.create', target: targetOf(ruleset), details: { region, rules: rules.length } })
      })
      return { ...ruleset, instanceIds: [] }
    },
    async get(caller, id) {
      requireScope(caller, 'read')
      return viewOf(reader, await ownRuleset(reader, caller, id))
    },
    async list(caller) {
      requireScope(caller, 'read')
      const rulesets = await reader.firewallRulesets(caller.projectId)
      return Promise.all(rulesets.map(ruleset => viewOf(reader, ruleset)))
    },
    async update(caller, id, change) {
      requireScope(caller, 'write')
      if (change.name !== undefined) checkLabel('firewall ruleset', change.name)
      if (change.rules !== undefined) checkFirewallRules(change.rules)
      const after = await core.store.transaction(async tx => {
        const ruleset = { ...(await ownRuleset(tx, caller, id)), ...change }
        await tx.putFirewallRuleset(ruleset)
        await core.audit.record(tx, caller, { action: 'firewall-ruleset.update', target: targetOf(ruleset), details: { rules: ruleset.rules.length } })
        return ruleset
      })
      const view = await viewOf(reader, after)
      await apply(core, loop, view.instanceIds)
      return view
    },
    async delete(caller, id) {
      requireScope(caller, 'write')
      await core.store.transaction(async tx => {
        const { name, instanceIds } = await viewOf(tx, await ownRuleset(tx, caller, id))
        if (instanceIds[0] !== undefined) {
          throw new BerthError('volume_in_use', `The firewall ruleset ${name} is in use by ${instanceIds.length === 1 ? 'an instance' : `${instanceIds.length} instances`}: detach it there, or delete ${instanceIds.length === 1 ? 'it' : 'those'}, first.`, {
            details: { firewallRulesetId: id, instanceId: instanceIds[0] },
          })
        }
        await tx.deleteFirewallRuleset(id)
        await core.audit.record(tx, caller, { action: 'firewall-ruleset.delete', target: targetOf({ id, name }) })
      })
    },
    async assign(caller, instanceId, change) {
      requireScope(caller, 'write')
      await ownInstance(reader, caller, instanceId)
      return loop.run(instanceId, () => assign(core, caller, instanceId, change))
    },
  }
}

/** Refuses rulesets that are not the caller's: of a new instance, before it is placed. */
export async function checkFirewallRulesets(reader: StoreReader, caller: Caller, wanted: readonly FirewallRulesetId[] | null): Promise<void> {
  if (wanted === null || wanted.length === 0) return
  if (wanted.length > FIREWALL_RULESETS_PER_INSTANCE_LIMIT) {
    throw new BerthError('limit_exceeded', `An instance has at most ${FIREWALL_RULESETS_PER_INSTANCE_LIMIT} firewall rulesets.`)
  }
  for (const id of wanted) await ownRuleset(reader, caller, id)
}

/** Refuses a firewall where no host can hold one; returns those that can. */
export function hostsWithFirewalls(wanted: InstanceSpec['firewallRulesets'], candidates: readonly Candidate[]): readonly Candidate[] {
  if (wanted === null) return candidates
  const able = candidates.filter(({ facts }) => facts.network.mode === 'bridge')
  if (able.length === 0) throw new BerthError('not_supported', 'This host can hold no firewall: Berth must run as root there, on the bridge network.')
  return able
}

/** After a start: a crash may have come between a change and its instances. */
export async function reapplyFirewalls(core: Core, loop: Reconciler): Promise<void> {
  try {
    const users = await core.store.read.firewallUsers(null)
    if (users.length === 0) return
    const instances = await core.store.read.instances({ projectId: null, ids: users.map(user => user.instanceId) })
    // The others get theirs with their next start.
    const withVm = instances.filter(({ phase }) => holdsCompute(phase) || phase === 'standby')
    await apply(core, loop, withVm.map(({ id }) => id), rememberedRules(core.store.read))
  } catch (error) {
    core.logger.warn({ err: error }, 'the firewall of an instance could not be checked')
  }
}

function targetOf({ id, name }: Pick<FirewallRuleset, 'id' | 'name'>): AuditTarget {
  return { kind: 'firewall-ruleset', id, name }
}

/** Recorded, then put to the instance; if its host can't, the record is undone. */
async function assign(core: Core, caller: Caller, id: InstanceId, wish: FirewallChange): Promise<Instance> {
  const { before, after } = await core.journal.commit(async change => {
    const instance = await ownInstance(change.tx, caller, id)
    if (instance.phase === 'deleting') throw new BerthError('invalid_state', 'An instance that is being deleted needs no firewall any more.')
    const wanted = changed(instance, wish)
    await checkFirewallRulesets(change.tx, caller, wanted)
    if (instance.hostId !== null) hostsWithFirewalls(wanted, await candidatesOf([core.fleet.link(instance.hostId)]))
    await core.audit.record(change.tx, caller, { action: 'instance.firewall', target: instanceTarget(instance), details: { rulesets: wanted } })
    return { before: instance, after: await change.note(instance, tell(wanted), { spec: { ...instance.spec, firewallRulesets: wanted } }) }
  })
  try {
    await applyTo(core, core.store.read, id)
    return after
  } catch (error) {
    await core.journal.commit(async change => {
      const now = await change.tx.instance(id)
      if (now === null || now.phase === 'deleted') return
      const { firewallRulesets } = before.spec
      await change.note(now, 'The firewall could not be changed; it is as before.', { spec: { ...now.spec, firewallRulesets } })
    })
    throw error
  }
}

function changed({ spec: { firewallRulesets: now } }: Pick<Instance, 'spec'>, wish: FirewallChange): readonly FirewallRulesetId[] | null {
  if ('set' in wish) return wish.set === null ? null : [...new Set(wish.set)]
  if ('add' in wish) return [...new Set([...(now ?? []), wish.add])]
  if (now?.includes(wish.remove) === true) return now.filter(id => id !== wish.remove)
  throw new BerthError('not_found', `The instance does not have the firewall ruleset ${wish.remove}.`, { details: { firewallRulesetId: wish.remove } })
}

function tell(wanted: readonly FirewallRulesetId[] | null): string {
  if (wanted === null) return 'Its firewall is taken away.'
  return wanted.length === 0 ? 'Its firewall has the global rules.' : `Its firewall has the global rules and ${wanted.length === 1 ? 'a ruleset' : `${wanted.length} rulesets`} besides.`
}

async function apply(core: Core, loop: Reconciler, ids: readonly InstanceId[], rules: RulesReader = core.store.read): Promise<void> {
  const results = await Promise.allSettled(ids.map(id => loop.run(id, () => applyTo(core, rules, id))))
  const failed = results.find(result => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

type RulesReader = Pick<StoreReader, 'globalFirewallRules' | 'firewallRulesets'>

/**
 * Reads the rules of each project once, however many instances have them. Whoever changes a rule meanwhile puts it to
 * the same instances, after this.
 */
function rememberedRules(reader: RulesReader): RulesReader {
  const once = <T>(read: (id: ProjectId) => Promise<T>) => {
    const known = new Map<ProjectId, Promise<T>>()
    return (id: ProjectId): Promise<T> => {
      const found = known.get(id) ?? read(id)
      known.set(id, found)
      return found
    }
  }
  return { globalFirewallRules: once(id => reader.globalFirewallRules(id)), firewallRulesets: once(id => reader.firewallRulesets(id)) }
}

async function applyTo(core: Core, rules: RulesReader, id: InstanceId): Promise<void> {
  const instance = await core.store.read.instance(id)
  // Without a host it gets them when it is placed and started.
  if (instance === null || instance.hostId === null || instance.phase === 'deleted' || instance.phase === 'deleting') return
  const { host } = core.fleet.link(instance.hostId)
  const firewall = await firewallOf(rules, instance)
  await withDeadline(host.setFirewall(refOf(instance), firewall), core.config.deadlines.volumeMs, 'The host did not change the firewall in time.')
}

async function ownRuleset(reader: Pick<StoreReader, 'firewallRulesets'>, caller: Caller, id: FirewallRulesetId): Promise<FirewallRuleset> {
  const ruleset = (await reader.firewallRulesets(caller.projectId)).find(candidate => candidate.id === id)
  if (ruleset !== undefined) return ruleset
  throw new BerthError('not_found', `There is no firewall ruleset ${id}.`, { details: { firewallRulesetId: id } })
}

async function viewOf(reader: Pick<StoreReader, 'firewallUsers'>, ruleset: FirewallRuleset): Promise<FirewallRulesetView> {
  const users = await reader.firewallUsers(ruleset.projectId)
  return { ...ruleset, instanceIds: users.filter(({ rulesetIds }) => rulesetIds.includes(ruleset.id)).map(({ instanceId }) => instanceId) }
}
