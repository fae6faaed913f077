/** Tools that tell what instances can be made of: images, types, regions. */
import { z } from 'zod'
import type { FirewallRule, Image } from '../../instance/model.ts'
import { Limit, Offset } from '../schema.ts'
import { defineTool } from '../tool.ts'
import type { Tool } from '../tool.ts'

const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: false } as const
const MIB = 2 ** 20
const paging = { limit: Limit, offset: Offset }
export const pageInfo = { count: z.int(), limit: z.int(), offset: z.int(), has_next: z.boolean() }

const ImageOut = z.strictObject({
  name: z.string(),
  status: z.enum(['pending', 'pulling', 'converting', 'ready', 'failed']),
  digest: z.string().nullable(),
  size_mib: z.number().nullable(),
  error: z.string().nullable(),
})

export const listImages = defineTool({
  name: 'list-images',
  title: 'List images',
  description: 'Images that are here already. create-instance pulls any other from its registry by name, like alpine or ghcr.io/org/app:1.2.',
  toolset: 'catalogue',
  scope: 'read',
  hints: READ,
  input: z.strictObject(paging),
  output: z.strictObject({ images: z.array(ImageOut), ...pageInfo }),
  async run({ limit, offset }, { engine, caller }) {
    const { page, info } = paged(await engine.images.list(caller), limit, offset)
    const text = page.length === 0 ? 'No images.' : page.map(({ name, status, error }) => `${name}: ${status}${error === null ? '' : `, ${error}`}`).join('\n')
    return { data: { images: page.map(presentImage), ...info }, text }
  },
})

function presentImage({ name, status, digest, sizeBytes, error }: Image): z.output<typeof ImageOut> {
  return { name, status, digest, size_mib: sizeBytes === null ? null : Math.round((sizeBytes / MIB) * 100) / 100, error }
}

const Type = z.strictObject({
  id: z.string(),
  description: z.string(),
  vcpus: z.int(),
  memory_mib: z.number(),
  disk_mib: z.number(),
  gpu: z.strictObject({ model: z.string(), count: z.int(), memory_mib: z.number() }).nullable(),
  price_usd_per_hour: z.number(),
})

export const listInstanceTypes = defineTool({
  name: 'list-instance-types',
  title: 'List instance types',
  description: 'Sizes that create-instance takes as `type`, with their price.',
  toolset: 'catalogue',
  scope: 'read',
  hints: READ,
  input: z.strictObject(paging),
  output: z.strictObject({ types: z.array(Type), ...pageInfo }),
  async run({ limit, offset }, { catalogue }) {
    const { page, info } = paged(catalogue.types, limit, offset)
    const types = page.map(({ id, description, vcpus, memoryBytes, diskBytes, gpu, priceMicrosPerHour }) => ({
      id,
      description,
      vcpus,
      memory_mib: memoryBytes / MIB,
      disk_mib: diskBytes / MIB,
      gpu: gpu === null ? null : { model: gpu.model, count: gpu.count, memory_mib: gpu.memoryBytes / MIB },
      price_usd_per_hour: priceMicrosPerHour / 1_000_000,
    }))
    const text = types.map(({ id, vcpus, memory_mib, gpu, price_usd_per_hour }) =>
      `${id}: ${vcpus} vCPU, ${memory_mib} MiB${gpu === null ? '' : `, ${gpu.count}x ${gpu.model}`}, $${price_usd_per_hour}/h`,
    )
    return { data: { types, ...info }, text: text.join('\n') || 'No types.' }
  },
})

export const listRegions = defineTool({
  name: 'list-regions',
  title: 'List regions',
  description: 'Places where instances can be made.',
  toolset: 'catalogue',
  scope: 'read',
  hints: READ,
  input: z.strictObject(paging),
  output: z.strictObject({
    regions: z.array(z.strictObject({ id: z.string(), description: z.string(), simulated: z.boolean().describe('Instances there only pretend to run') })),
    ...pageInfo,
  }),
  async run({ limit, offset }, { catalogue }) {
    const { page, info } = paged(catalogue.regions, limit, offset)
    const regions = page.map(({ id, description, simulated }) => ({ id, description, simulated: simulated !== null }))
    return { data: { regions, ...info }, text: regions.map(({ id, description }) => `${id}: ${description}`).join('\n') || 'No regions.' }
  },
})

export const listSecrets = defineTool({
  name: 'list-secrets',
  title: 'List secrets',
  description: 'Names of the secrets of the project, which create-instance and update-instance take; values are never shown. A person makes them: berth secrets set NAME.',
  toolset: 'catalogue',
  scope: 'read',
  hints: READ,
  input: z.strictObject(paging),
  output: z.strictObject({ secrets: z.array(z.string()), ...pageInfo }),
  async run({ limit, offset }, { engine, caller }) {
    const { page, info } = paged((await engine.secrets.list(caller)).map(({ name }) => name), limit, offset)
    return { data: { secrets: page, ...info }, text: page.join('\n') || 'No secrets.' }
  },
})

export const listFileSystems = defineTool({
  name: 'list-file-systems',
  title: 'List shared file systems',
  description: 'Shared file systems that create-instance can mount.',
  toolset: 'catalogue',
  scope: 'read',
  hints: READ,
  input: z.strictObject(paging),
  output: z.strictObject({ file_systems: z.array(z.strictObject({ id: z.string(), name: z.string(), region: z.string(), size_mib: z.number(), instance_ids: z.array(z.string()) })), ...pageInfo }),
  async run({ limit, offset }, { engine, caller }) {
    const { page, info } = paged(await engine.fileSystems.list(caller), limit, offset)
    const told = page.map(({ id, name, region, sizeBytes, instanceIds }) => ({ id, name, region, size_mib: sizeBytes / MIB, instance_ids: instanceIds.map(String) }))
    return { data: { file_systems: told, ...info }, text: told.map(({ name, id, region, size_mib: size }) => `${name} ${id}: ${region}, ${size} MiB`).join('\n') || 'No file systems.' }
  },
})

export const listFirewalls = defineTool({
  name: 'list-firewalls',
  title: 'List firewall rulesets',
  description: 'Rulesets that create-instance takes as `firewalls`, and what each lets in.',
  toolset: 'catalogue',
  scope: 'read',
  hints: READ,
  input: z.strictObject(paging),
  output: z.strictObject({ firewalls: z.array(z.strictObject({ id: z.string(), name: z.string(), rules: z.array(z.string()), instance_ids: z.array(z.string()) })), ...pageInfo }),
  async run({ limit, offset }, { engine, caller }) {
    const { page, info } = paged(await engine.firewalls.list(caller), limit, offset)
    const told = page.map(({ id, name, rules, instanceIds }) => ({ id, name, rules: rules.map(ruleLine), instance_ids: instanceIds.map(String) }))
    return { data: { firewalls: told, ...info }, text: told.map(({ name, id, rules }) => `${name} ${id}: ${rules.join(', ') || 'lets nothing in'}`).join('\n') || 'No firewall rulesets.' }
  },
})

/** `tcp 80-90 from 10.0.0.0/8` */
function ruleLine({ protocol, ports, source }: FirewallRule): string {
  const range = ports === null ? '' : ports[0] === ports[1] ? ` ${ports[0]}` : ` ${ports[0]}-${ports[1]}`
  return `${protocol}${range} from ${source}`
}

export function paged<T>(all: readonly T[], limit: number, offset: number) {
  const page = all.slice(offset, offset + limit)
  return { page, info: { count: all.length, limit, offset, has_next: offset + page.length < all.length } }
}

export const catalogueTools: readonly Tool[] = [listFileSystems, listFirewalls, listImages, listInstanceTypes, listRegions, listSecrets]
