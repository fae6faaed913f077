/**
 * Devices: the PCI functions of the machine, and the names that were registered for them.
 *
 * A registration is a name for a PCI address and nothing more: instances here take no devices, so none is ever
 * attached or bound to vfio. Registrations are kept in one small file of the dialect's own, written whole and
 * renamed into place.
 */
import { randomBytes } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { Check } from 'typebox/value'
import type { Static } from 'typebox'
import { BerthError } from '../../instance/errors.ts'
import { newId, spellId } from '../../instance/ids.ts'
import type { HostDevice } from '../../engine/host-port.ts'
import { acceptTags } from './accept.ts'
import { readerOf, requiredBody } from './body.ts'
import { resourceNotFound, wireError } from './errors.ts'
import { presentAvailableDevice } from './present.ts'
import { queryTags } from './query.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter } from './surface.ts'
import { formatTimestamp } from './timestamp.ts'

const FILE = 'devices.json'
const REGISTRATIONS_LIMIT = 1000
const PCI_ADDRESS = /^[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$/
const VFIO_DRIVER = 'vfio-pci'

const Registration = Type.Object({
  id: Type.String(),
  projectId: Type.String(),
  name: Type.String(),
  pciAddress: Type.String(),
  createdAt: Type.Number(),
  tags: Type.Record(Type.String(), Type.String()),
})
type Registration = Static<typeof Registration>
const RegistrationsFile = Type.Array(Registration)
const readCreate = readerOf(wire.CreateDeviceRequest)
const deviceName = new RegExp(wire.DEVICE_NAME_PATTERN)

/** The registered devices; one writer at a time. */
export class DeviceRegistry {
  readonly #path: string
  #turn: Promise<unknown> = Promise.resolve()

  constructor(stateDir: string) {
    this.#path = join(stateDir, FILE)
  }

  async list(projectId: string): Promise<readonly Registration[]> {
    return (await this.#read()).filter(registration => registration.projectId === projectId)
  }

  /** Runs `change` on what is registered and keeps its result, alone. */
  update(change: (all: readonly Registration[]) => readonly Registration[]): Promise<void> {
    const work = async (): Promise<void> => {
      const next = change(await this.#read())
      const draft = `${this.#path}.new`
      await writeFile(draft, JSON.stringify(next, null, 2), { mode: 0o600, flush: true })
      await rename(draft, this.#path)
    }
    const done = this.#turn.then(work, work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  async #read(): Promise<readonly Registration[]> {
    let text: string
    try {
      text = await readFile(this.#path, 'utf8')
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
      throw error
    }
    const parsed: unknown = JSON.parse(text)
    if (Check(RegistrationsFile, parsed)) return parsed
    throw new BerthError('internal', `The file ${this.#path} is damaged; remove it to forget the registered devices.`)
  }
}

export async function listDevices(surface: Surface, registry: DeviceRegistry, request: FastifyRequest): Promise<readonly wire.Device[]> {
  const caller = callerOf(request)
  const tags = Object.entries(queryTags(request))
  const [registrations, devices] = await Promise.all([registry.list(caller.projectId), surface.engine.devices(caller)])
  const matching = registrations.filter(registration => tags.every(([key, value]) => registration.tags[key] === value))
  return matching.map(registration => presentDevice(registration, devices))
}

/** What is in the machine, registered or not. */
export async function listAvailableDevices(surface: Surface, request: FastifyRequest): Promise<readonly wire.AvailableDevice[]> {
  return (await surface.engine.devices(callerOf(request))).map(presentAvailableDevice)
}

export async function createDevice(
  surface: Surface,
  registry: DeviceRegistry,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<wire.Device> {
  const caller = callerOf(request)
  const body = requiredBody(request, readCreate)
  if (!PCI_ADDRESS.test(body.pci_address)) {
    throw wireError('invalid_request', 'invalid_pci_address', 'pci_address must look like 0000:a2:00.0')
  }
  const pciAddress = body.pci_address.toLowerCase()
  const name = body.name ?? `pci-${pciAddress.replace(/[:.]/g, '-')}`
  if (name.length > wire.NAME_MAX_LENGTH || !deviceName.test(name)) {
    throw new BerthError('invalid_name', `device name must match ${wire.DEVICE_NAME_PATTERN} and have up to ${wire.NAME_MAX_LENGTH} characters`)
  }
  const devices = await surface.engine.devices(caller)
  if (!devices.some(device => device.pciAddress === pciAddress)) {
    throw new BerthError('device_not_found', `no device ${pciAddress} on this machine, see GET /devices/available`)
  }
  const registration: Registration = {
    id: spellId('instance', 'hypeman', newId('instance', randomBytes(16))),
    projectId: caller.projectId,
    name,
    pciAddress,
    createdAt: surface.options.now(),
    tags: { ...acceptTags(body.tags) },
  }
  await registry.update(all => {
    const mine = all.filter(other => other.projectId === caller.projectId)
    if (mine.some(other => other.pciAddress === pciAddress || other.name === name)) {
      throw wireError('already_exists', 'conflict', `device ${pciAddress} or the name ${name} is already registered`)
    }
    if (mine.length >= REGISTRATIONS_LIMIT) throw new BerthError('limit_exceeded', `at most ${REGISTRATIONS_LIMIT} devices can be registered`)
    return [...all, registration]
  })
  reply.code(201)
  return presentDevice(registration, devices)
}

export async function getDevice(surface: Surface, registry: DeviceRegistry, request: FastifyRequest): Promise<wire.Device> {
  const caller = callerOf(request)
  const registration = find(await registry.list(caller.projectId), pathParameter(request, 'id'))
  return presentDevice(registration, await surface.engine.devices(caller))
}

export async function deleteDevice(registry: DeviceRegistry, request: FastifyRequest, reply: FastifyReply): Promise<null> {
  const caller = callerOf(request)
  if (!caller.scopes.includes('write')) throw new BerthError('forbidden', 'this key may not change anything')
  const registration = find(await registry.list(caller.projectId), pathParameter(request, 'id'))
  await registry.update(all => all.filter(other => other.id !== registration.id))
  reply.code(204)
  return null
}

function find(registrations: readonly Registration[], text: string): Registration {
  const found = registrations.find(other => other.id === text) ?? registrations.find(other => other.name === text)
  if (found === undefined) throw resourceNotFound()
  return found
}

/** A device that was taken out of the machine is still registered, with what is no longer known as zeroes. */
function presentDevice(registration: Registration, devices: readonly HostDevice[]): wire.Device {
  const device = devices.find(candidate => candidate.pciAddress === registration.pciAddress)
  return {
    id: registration.id,
    name: registration.name,
    type: device?.kind ?? 'pci',
    pci_address: registration.pciAddress,
    vendor_id: device?.vendorId ?? '0000',
    device_id: device?.deviceId ?? '0000',
    iommu_group: device?.iommuGroup ?? -1,
    bound_to_vfio: device?.driver === VFIO_DRIVER,
    attached_to: null,
    created_at: formatTimestamp(registration.createdAt),
    ...(Object.keys(registration.tags).length === 0 ? {} : { tags: registration.tags }),
  }
}
