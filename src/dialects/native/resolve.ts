/**
 * What a path or a query means by a word: an instance, a volume, a key or a project of the caller's.
 *
 * An instance is found by, in this order: its id in any dialect's spelling, its name, the beginning of its
 * UUID (dashes may be missing). Two that fit are `ambiguous`; none is `not_found`.
 */
import type { Caller, Engine } from '../../engine/api.ts'
import type { FileSystemView } from '../../engine/file-systems.ts'
import type { FirewallRulesetView } from '../../engine/firewalls.ts'
import type { WithInstances } from '../../engine/market/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import { parseId } from '../../instance/ids.ts'
import type { IdDialect, IdKind, IdKinds } from '../../instance/ids.ts'
import type { Bid, Reservation } from '../../instance/market.ts'
import type { ApiKey, Instance, InstanceId, Project, SshKey, Volume, VolumeId } from '../../instance/model.ts'
import type { Snapshot } from '../../instance/snapshot.ts'
import { checkedPublicKey, isPublicKey } from '../../instance/ssh-key.ts'
import type { Finders } from './accept.ts'

const SPELLINGS: readonly IdDialect[] = ['native', 'lambda', 'mithril', 'hypeman']
/** Longest word worth a look. */
const WORD_LIMIT_CHARACTERS = 255
const ID_BEGINNING = /^[0-9a-f-]{1,36}$/

export async function findInstance(engine: Engine, caller: Caller, word: string): Promise<Instance> {
  if (word.length <= WORD_LIMIT_CHARACTERS) {
    const id = readId('instance', word)
    const byId = id === null ? null : await orNull(engine.instances.get(caller, id))
    if (byId !== null) return byId
    const [byName] = await engine.instances.list(caller, { name: word, limit: 1 })
    if (byName !== undefined) return byName
    if (ID_BEGINNING.test(word)) {
      const begin = word.replaceAll('-', '')
      const found = (await engine.instances.list(caller, {})).filter(({ id: each }) => each.replaceAll('-', '').startsWith(begin))
      if (found.length > 1) throw ambiguous('instance', word, found.length)
      if (found[0] !== undefined) return found[0]
    }
  }
  throw notFound('not_found', 'instance', word)
}

export async function findVolume(engine: Engine, caller: Caller, word: string): Promise<Volume> {
  if (word.length <= WORD_LIMIT_CHARACTERS) {
    const byId = await orNull(engine.volumes.get(caller, readId('volume', word) ?? (word as VolumeId)))
    if (byId !== null) return byId
    const found = await engine.volumes.list(caller, { name: word })
    if (found.length > 1) throw ambiguous('volume', word, found.length)
    if (found[0] !== undefined) return found[0]
  }
  throw notFound('volume_not_found', 'volume', word)
}

export async function findFileSystem(engine: Engine, caller: Caller, word: string): Promise<FileSystemView> {
  return pick('fileSystem', word, await engine.fileSystems.list(caller))
}

export async function findFirewall(engine: Engine, caller: Caller, word: string): Promise<FirewallRulesetView> {
  return pick('firewallRuleset', word, await engine.firewalls.list(caller))
}

/** By id, by a name that means one of them, or by the beginning of the id. */
export async function findSnapshot(engine: Engine, caller: Caller, word: string): Promise<Snapshot> {
  if (word.length <= WORD_LIMIT_CHARACTERS) {
    const id = readId('snapshot', word)
    const byId = id === null ? null : await orNull(engine.snapshots.get(caller, id))
    if (byId !== null) return byId
    const all = await engine.snapshots.list(caller)
    const begin = word.replaceAll('-', '')
    const named = all.filter(({ name }) => name === word)
    const found = named.length > 0 || !ID_BEGINNING.test(word) ? named : all.filter(({ id: each }) => each.replaceAll('-', '').startsWith(begin))
    if (found.length > 1) throw ambiguous('snapshot', word, found.length)
    if (found[0] !== undefined) return found[0]
  }
  throw notFound('not_found', 'snapshot', word)
}

/** The id of an instance that may be gone. */
export async function instanceIdOf(engine: Engine, caller: Caller, word: string): Promise<InstanceId> {
  return readId('instance', word) ?? (await findInstance(engine, caller, word)).id
}

export async function findKey(engine: Engine, caller: Caller, word: string): Promise<ApiKey> {
  return pick('key', word, await engine.keys.list(caller))
}

export async function findSshKey(engine: Engine, caller: Caller, word: string): Promise<SshKey> {
  return pick('sshKey', word, await engine.sshKeys.list(caller))
}

export async function findProject(engine: Engine, caller: Caller, word: string): Promise<Project> {
  const id = readId('project', word)
  const byId = id === null ? null : await orNull(engine.projects.get(caller, id))
  return byId ?? pick('project', word, await engine.projects.list(caller))
}

/** A bid by its id in any spelling, also one that is over; or the newest one of that name that is not. */
export async function findBid({ market }: Engine, caller: Caller, word: string): Promise<WithInstances<Bid>> {
  const id = readId('bid', word)
  const byId = id === null ? null : await orNull(market.bid(caller, id))
  return byId ?? newest('bid', word, await market.bids(caller, { name: word, liveOnly: true, limit: 1 }))
}

/** The same of a reservation. */
export async function findReservation({ market }: Engine, caller: Caller, word: string): Promise<WithInstances<Reservation>> {
  const id = readId('reservation', word)
  const byId = id === null ? null : await orNull(market.reservation(caller, id))
  return byId ?? newest('reservation', word, await market.reservations(caller, { name: word, liveOnly: true, limit: 1 }))
}

function newest<T>(kind: 'bid' | 'reservation', word: string, [first]: readonly T[]): T {
  if (first === undefined) throw notFound('not_found', kind, word)
  return first
}

/** What a request's own words mean: volumes, file systems, firewall rulesets and SSH keys of the project. */
export function findersOf(engine: Engine, caller: Caller): Finders {
  return {
    volume: async (word) => (await findVolume(engine, caller, word)).id,
    fileSystem: async (word) => (await findFileSystem(engine, caller, word)).id,
    firewall: async (word) => (await findFirewall(engine, caller, word)).id,
    sshKey: async (word) => (isPublicKey(word) ? checkedPublicKey(word) : (await findSshKey(engine, caller, word)).publicKey),
  }
}

/** The id behind any dialect's spelling, or null. */
function readId<K extends IdKind>(kind: K, word: string): IdKinds[K] | null {
  for (const dialect of SPELLINGS) {
    const id = parseId(kind, dialect, word)
    if (id !== null) return id
  }
  return null
}

const NAMES = { key: 'key', project: 'project', sshKey: 'SSH key', fileSystem: 'file system', firewallRuleset: 'firewall ruleset' } as const

function pick<T extends { readonly id: string; readonly name: string }>(kind: keyof typeof NAMES, word: string, all: readonly T[]): T {
  const id = readId(kind, word)
  const byId = all.find((each) => each.id === id || each.id === word)
  if (byId !== undefined) return byId
  const found = all.filter(({ name }) => name === word)
  if (found.length > 1) throw new BerthError('ambiguous', `${found.length} ${NAMES[kind]}s are called ${quoteGo(word)}: name the one by its id.`)
  if (found[0] === undefined) throw notFound(kind === 'fileSystem' ? 'volume_not_found' : 'not_found', NAMES[kind], word)
  return found[0]
}

async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (error instanceof BerthError && (error.code === 'not_found' || error.code === 'volume_not_found')) return null
    throw error
  }
}

function ambiguous(what: string, word: string, count: number): BerthError {
  return new BerthError('ambiguous', `${quoteGo(word)} means ${count} ${what}s; write more of the id, or the whole name.`)
}

function notFound(code: 'not_found' | 'volume_not_found', what: string, word: string): BerthError {
  return new BerthError(code, `There is no ${what} ${quoteGo(word)} in this project.`)
}
