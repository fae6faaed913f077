/**
 * The catalogue: which types of instance there are, in which regions, at what price, and how each
 * dialect calls them. Data of the operator (config/catalogue.json); this file says what it must look
 * like and finds things in it.
 *
 * Invariants: ids and each dialect's names are unique; prices are integers in micro-dollars an hour
 * (a whole cent is 10,000), and what a dialect prints in cents is a whole number of them.
 */
import { BerthError } from './errors.ts'
import type { Place } from './model.ts'

/** Dialects that name types and regions in their own way. */
export const CATALOGUE_DIALECTS = ['koyeb', 'lambda', 'mithril'] as const
export type CatalogueDialect = (typeof CATALOGUE_DIALECTS)[number]

/** Micro-dollars in a cent. */
export const MICROS_PER_CENT = 10_000
const MAX_TYPES = 256
const MAX_REGIONS = 64
const ID = /^[a-z0-9][a-z0-9._-]{0,62}$/

export interface GpuSpec {
  /** As an operator would say it: `H100 (80 GB SXM5)`. */
  readonly model: string
  readonly count: number
  readonly memoryBytes: number
}

export interface InstanceType {
  readonly id: string
  readonly description: string
  /** CPUs that the guest sees. */
  readonly vcpus: number
  /** What part of them is promised: 0.25 of one for a `nano`. */
  readonly cpuShares: number
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly gpu: GpuSpec | null
  readonly priceMicrosPerHour: number
  /** How each dialect calls it; a dialect that isn't here doesn't offer it. */
  readonly names: Readonly<Partial<Record<CatalogueDialect, string>>>
}

export interface Region {
  readonly id: string
  readonly description: string
  readonly names: Readonly<Partial<Record<CatalogueDialect, string>>>
  /** What the region's machines pretend to have, and that they pretend; real regions have `null`. */
  readonly simulated: { readonly slotsPerType: number } | null
}

export interface Catalogue {
  readonly regions: readonly Region[]
  readonly types: readonly InstanceType[]
}

/** Of an engine that sells nothing: one region, no types. */
export const EMPTY_CATALOGUE: Catalogue = { regions: [{ id: 'home', description: 'This machine', names: {}, simulated: null }], types: [] }

/** The type that a dialect calls so, or null. */
export function typeNamed(catalogue: Catalogue, dialect: CatalogueDialect, name: string): InstanceType | null {
  return catalogue.types.find((type) => type.names[dialect] === name) ?? null
}

/** The region that a dialect calls so, or null. */
export function regionNamed(catalogue: Catalogue, dialect: CatalogueDialect, name: string): Region | null {
  return catalogue.regions.find((region) => region.names[dialect] === name) ?? null
}

/** The place of an instance of this type in this region. */
export function placeIn(region: Region, type: InstanceType | null): Place {
  return { region: region.id, type: type?.id ?? null, isSimulated: region.simulated !== null }
}

/** The same catalogue whose simulated regions have nothing to give. */
export function withoutSimulation(catalogue: Catalogue): Catalogue {
  const regions = catalogue.regions.map((region) => (region.simulated === null ? region : { ...region, simulated: { slotsPerType: 0 } }))
  return { ...catalogue, regions }
}

/** The types a dialect offers, in the catalogue's order. */
export function typesOf(catalogue: Catalogue, dialect: CatalogueDialect): readonly InstanceType[] {
  return catalogue.types.filter((type) => type.names[dialect] !== undefined)
}

/** The regions a dialect offers, in the catalogue's order. */
export function regionsOf(catalogue: Catalogue, dialect: CatalogueDialect): readonly Region[] {
  return catalogue.regions.filter((region) => region.names[dialect] !== undefined)
}

/**
 * Reads a catalogue from parsed JSON.
 * @throws BerthError `invalid_request` with the path of what is wrong.
 */
export function readCatalogue(value: unknown): Catalogue {
  const root = asObject(value, 'catalogue')
  const catalogue: Catalogue = {
    regions: asList(root['regions'], 'regions', MAX_REGIONS).map((item, index) => readRegion(item, `regions[${index}]`)),
    types: asList(root['types'], 'types', MAX_TYPES).map((item, index) => readType(item, `types[${index}]`)),
  }
  for (const [what, items] of Object.entries({ regions: catalogue.regions, types: catalogue.types })) {
    requireUnique(items.map((item) => item.id), `${what}: id`)
    for (const dialect of CATALOGUE_DIALECTS) {
      requireUnique(items.flatMap((item) => item.names[dialect] ?? []), `${what}: names.${dialect}`)
    }
  }
  return catalogue
}

function readRegion(value: unknown, path: string): Region {
  const item = asObject(value, path)
  const simulated = item['simulated'] === undefined || item['simulated'] === null ? null : asObject(item['simulated'], `${path}.simulated`)
  return {
    id: readId(item['id'], `${path}.id`),
    description: readText(item['description'], `${path}.description`),
    names: readNames(item['names'], `${path}.names`),
    simulated: simulated === null ? null : { slotsPerType: readInteger(simulated['slotsPerType'], `${path}.simulated.slotsPerType`, 0) },
  }
}

function readType(value: unknown, path: string): InstanceType {
  const item = asObject(value, path)
  const vcpus = readInteger(item['vcpus'], `${path}.vcpus`, 1)
  const shares = item['cpuShares'] ?? vcpus
  if (typeof shares !== 'number' || !(shares > 0) || shares > vcpus) throw wrong(`${path}.cpuShares`, `a number above 0, at most ${vcpus}`)
  const gpu = item['gpu'] === undefined || item['gpu'] === null ? null : asObject(item['gpu'], `${path}.gpu`)
  return {
    id: readId(item['id'], `${path}.id`),
    description: readText(item['description'], `${path}.description`),
    vcpus,
    cpuShares: shares,
    memoryBytes: readInteger(item['memoryMib'], `${path}.memoryMib`, 64) * 1024 ** 2,
    diskBytes: readInteger(item['diskGib'], `${path}.diskGib`, 1) * 1024 ** 3,
    gpu:
      gpu === null
        ? null
        : {
            model: readText(gpu['model'], `${path}.gpu.model`),
            count: readInteger(gpu['count'], `${path}.gpu.count`, 1),
            memoryBytes: readInteger(gpu['memoryGib'], `${path}.gpu.memoryGib`, 1) * 1024 ** 3,
          },
    priceMicrosPerHour: readInteger(item['priceMicrosPerHour'], `${path}.priceMicrosPerHour`, 0),
    names: readNames(item['names'], `${path}.names`),
  }
}

function readNames(value: unknown, path: string): InstanceType['names'] {
  const item = asObject(value, path)
  const names: Partial<Record<CatalogueDialect, string>> = {}
  for (const key of Object.keys(item)) {
    const dialect = CATALOGUE_DIALECTS.find((known) => known === key)
    if (dialect === undefined) throw wrong(`${path}.${key}`, `one of ${CATALOGUE_DIALECTS.join(', ')}`)
    names[dialect] = readText(item[key], `${path}.${key}`)
  }
  return names
}

function readId(value: unknown, path: string): string {
  if (typeof value !== 'string' || !ID.test(value)) throw wrong(path, 'lower-case letters, digits, dots and dashes')
  return value
}

function readText(value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '') throw wrong(path, 'text')
  return value
}

function readInteger(value: unknown, path: string, minimum: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum) throw wrong(path, `an integer of at least ${minimum}`)
  return value
}

function asObject(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(path, 'an object')
  return value as Record<string, unknown>
}

function asList(value: unknown, path: string, limit: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > limit) throw wrong(path, `a list of at most ${limit}`)
  return value
}

function requireUnique(values: readonly string[], what: string): void {
  const seen = new Set<string>()
  for (const value of values) {
    if (seen.has(value)) throw new BerthError('invalid_request', `The catalogue has ${what} ${JSON.stringify(value)} twice; make them different.`)
    seen.add(value)
  }
}

function wrong(path: string, expected: string): BerthError {
  return new BerthError('invalid_request', `The catalogue is wrong at ${path}: it must be ${expected}.`, { details: { field: path } })
}
