/**
 * The PCI functions of the machine that could be handed to a VM: those in an IOMMU group, bridges left out.
 * Read from sysfs; names from the distribution's pci.ids where it is installed.
 */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { HostDevice } from '../../engine/host-port.ts'

const PCI_IDS = ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids']
const BRIDGE_CLASS = '06'
const DISPLAY_CLASS = '03'

export async function readDevices(root = '/sys/bus/pci/devices'): Promise<readonly HostDevice[]> {
  const addresses = await readdir(root).catch(() => [])
  const found = (await Promise.all(addresses.map((address) => readFunction(join(root, address))))).filter((device) => device !== null)
  if (found.length === 0) return []
  const names = await readPciIds()
  return found
    .map((device) => ({ ...device, ...nameOf(names, device) }))
    .toSorted((a, b) => a.pciAddress.localeCompare(b.pciAddress))
}

async function readFunction(dir: string): Promise<HostDevice | null> {
  const group = await linkName(join(dir, 'iommu_group'))
  const [vendor, device, classCode] = await Promise.all(['vendor', 'device', 'class'].map((file) => hex(join(dir, file))))
  if (group === null || vendor === null || device === null || classCode === null) return null
  if (vendor === undefined || device === undefined || classCode === undefined || classCode.startsWith(BRIDGE_CLASS)) return null
  return {
    pciAddress: basename(dir),
    vendorId: vendor,
    deviceId: device,
    vendorName: null,
    deviceName: null,
    iommuGroup: Number(group),
    driver: await linkName(join(dir, 'driver')),
    kind: classCode.startsWith(DISPLAY_CLASS) ? 'gpu' : 'pci',
  }
}

/** `0x10de\n` → `10de`; null if the file is not there. */
async function hex(path: string): Promise<string | null> {
  const text = await readFile(path, 'utf8').catch(() => null)
  return text === null ? null : text.trim().replace(/^0x/, '')
}

async function linkName(path: string): Promise<string | null> {
  const target = await readlink(path).catch(() => null)
  return target === null ? null : basename(target)
}

async function readPciIds(): Promise<string> {
  for (const path of PCI_IDS) {
    const text = await readFile(path, 'utf8').catch(() => null)
    if (text !== null) return text
  }
  return ''
}

/** `10de  NVIDIA …` begins a vendor; `<tab>2684  AD102 …` below it is a device. */
function nameOf(ids: string, device: HostDevice): Pick<HostDevice, 'vendorName' | 'deviceName'> {
  const start = ids.search(new RegExp(`^${device.vendorId}  `, 'm'))
  if (start < 0) return { vendorName: null, deviceName: null }
  const [first = '', ...rest] = ids.slice(start).split('\n')
  const vendorName = first.slice(device.vendorId.length).trim()
  for (const line of rest) {
    if (line !== '' && !line.startsWith('\t') && !line.startsWith('#')) break
    if (line.startsWith(`\t${device.deviceId}  `)) return { vendorName, deviceName: line.slice(device.deviceId.length + 1).trim() }
  }
  return { vendorName, deviceName: null }
}
