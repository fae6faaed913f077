/**
 * Ids that this wire needs and Berth doesn't keep: they follow from what is kept, so that they are the same on every
 * call and every server. Sixteen characters of base 62, as the original's are. (Ids that are kept are spelled by
 * instance/ids.ts.)
 */
import { createHash } from 'node:crypto'
import type { InstanceType, Region } from '../../instance/catalogue.ts'
import { ID_BYTES, isUuidV4, newId, spellId } from '../../instance/ids.ts'
import type { Image, Instance, ProjectId, VolumeId } from '../../instance/model.ts'

const DIALECT = 'mithril'
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const DIGITS = 16

export type DerivedPrefix = 'it_' | 'auc_' | 'user_' | 'org_' | 'imgver_' | 'vol_' | 'quota_' | 'grant_'

/** A list spells the same few types for each of its rows. */
const known = new Map<string, string>()
const KNOWN_LIMIT = 10_000

export function derivedFid(prefix: DerivedPrefix, text: string): string {
  const source = `${prefix}${text}`
  const fid = known.get(source) ?? prefix + digitsOf(source)
  if (known.size >= KNOWN_LIMIT) known.clear()
  known.set(source, fid)
  return fid
}

function digitsOf(source: string): string {
  let bits = BigInt(`0x${createHash('sha256').update(source).digest('hex')}`)
  let digits = ''
  for (; digits.length < DIGITS; bits /= 62n) digits += BASE62.charAt(Number(bits % 62n))
  return digits
}

/** A UUID v4 that follows from a text, for the one place that wants a plain one. */
export function derivedUuid(text: string): string {
  return newId('instance', createHash('sha256').update(text).digest().subarray(0, ID_BYTES))
}

/** One id for each shape in each region: the original has several for one name, too. */
export function typeFid(region: Pick<Region, 'id'>, type: Pick<InstanceType, 'id'>): string {
  return derivedFid('it_', `${region.id}/${type.id}`)
}

/** Of a size that the catalogue has no type for. */
export function customTypeFid(instance: Pick<Instance, 'spec'>): string {
  return derivedFid('it_', `custom/${instance.spec.vcpus}/${instance.spec.memoryBytes}`)
}

export function auctionFid(region: Pick<Region, 'id'>, type: Pick<InstanceType, 'id'>): string {
  return derivedFid('auc_', `${region.id}/${type.id}`)
}

/** Berth has keys and projects but no users: a project is one user to this wire. */
export function userFid(projectId: ProjectId): string {
  return derivedFid('user_', projectId)
}

export function imageVersionFid(image: Pick<Image, 'name' | 'digest'>): string {
  return derivedFid('imgver_', `${image.name}@${image.digest ?? ''}`)
}

/** Hypeman's clients may choose a volume's id, which then is no UUID. */
export function volumeFid(id: VolumeId): string {
  return isUuidV4(id) ? spellId('volume', DIALECT, id) : derivedFid('vol_', id)
}
