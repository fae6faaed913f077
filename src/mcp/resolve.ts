/** The instance that a model means: by its id in any dialect's spelling, or by its name. Another project's is not found. */
import type { Caller, Engine } from '../engine/api.ts'
import { BerthError } from '../instance/errors.ts'
import { quoteGo } from '../instance/go-text.ts'
import { parseId } from '../instance/ids.ts'
import type { IdDialect } from '../instance/ids.ts'
import type { FirewallRulesetView } from '../engine/firewalls.ts'
import type { FileSystem, Instance, InstanceId } from '../instance/model.ts'
import { isServing } from '../instance/phase.ts'
import type { Snapshot } from '../instance/snapshot.ts'
import { ANNOTATION } from '../instance/service.ts'

const SPELLINGS: readonly IdDialect[] = ['native', 'lambda', 'mithril', 'hypeman']

/** The living instance. A deleted one is `not_found`. */
export async function findInstance(engine: Engine, caller: Caller, word: string): Promise<Instance> {
  const reader = withRead(caller)
  const id = readInstanceId(word)
  if (id !== null) {
    try {
      const instance = await engine.instances.get(reader, id)
      if (instance.phase !== 'deleted') return instance
    } catch (error) {
      if (!(error instanceof BerthError) || error.code !== 'not_found') throw error
    }
  }
  const [named] = await engine.instances.list(reader, { name: word, limit: 1 })
  if (named !== undefined) return named
  throw new BerthError('not_found', `There is no instance ${quoteGo(word)} in this project; list-instances tells which there are.`)
}

/** One instance of a service, one that runs if there is one. */
export async function findOfService(engine: Engine, caller: Caller, serviceId: string): Promise<Instance> {
  const instances = await engine.instances.list(withRead(caller), { annotations: { [ANNOTATION.service]: serviceId }, order: 'newest-first' })
  const found = instances.find(({ phase }) => isServing(phase)) ?? instances.find(({ phase }) => phase === 'standby') ?? instances[0]
  if (found === undefined) throw new BerthError('not_found', `There is no instance of a service ${quoteGo(serviceId)} in this project.`)
  return found
}

/** The snapshot that a model means: by its id in any dialect's spelling, or by a name that one alone has. */
export async function findSnapshot(engine: Engine, caller: Caller, word: string): Promise<Snapshot> {
  const all = await engine.snapshots.list(withRead(caller))
  const id = SPELLINGS.map(dialect => parseId('snapshot', dialect, word)).find(each => each !== null)
  const found = all.filter(snapshot => snapshot.id === id || snapshot.name === word)
  if (found.length > 1) throw new BerthError('ambiguous', `${quoteGo(word)} means ${found.length} snapshots: give the id; list-snapshots tells it.`)
  if (found[0] !== undefined) return found[0]
  throw new BerthError('not_found', `There is no snapshot ${quoteGo(word)} in this project; list-snapshots tells which there are.`)
}

export function findFileSystem(engine: Engine, caller: Caller, word: string): Promise<FileSystem> {
  return namedIn('file system', 'list-file-systems', engine.fileSystems.list(withRead(caller)), word)
}

export function findFirewall(engine: Engine, caller: Caller, word: string): Promise<FirewallRulesetView> {
  return namedIn('firewall ruleset', 'list-firewalls', engine.firewalls.list(withRead(caller)), word)
}

/** By its id, or by a name that it alone has. */
async function namedIn<T extends { readonly id: string; readonly name: string }>(what: string, tool: string, all: Promise<readonly T[]>, word: string): Promise<T> {
  const known = await all
  const found = known.filter(({ id, name }) => id === word || name === word)
  if (found.length > 1) throw new BerthError('ambiguous', `${quoteGo(word)} means ${found.length} of them: give the id; ${tool} tells it.`)
  if (found[0] !== undefined) return found[0]
  throw new BerthError('not_found', `There is no ${what} ${quoteGo(word)} in this project; ${tool} tells which there are.`)
}

/** The id behind any dialect's spelling, or null. */
export function readInstanceId(word: string): InstanceId | null {
  for (const dialect of SPELLINGS) {
    const id = parseId('instance', dialect, word)
    if (id !== null) return id
  }
  return null
}

/** Naming an instance of one's own is part of every tool; its scope is checked where something is told or done. */
export function withRead(caller: Caller): Caller {
  return caller.scopes.includes('read') ? caller : { ...caller, scopes: [...caller.scopes, 'read'] }
}
