/**
 * Volumes that come and go while the guest runs: a disk behind a root port that was there from the start.
 *
 * Every step may have been done before (a server died in the middle): what is there already is taken as done.
 */
import { BerthError } from '../../instance/errors.ts'
import { blockNodeNames, blockNodes, diskDevice, portBus, portDiskName, type PluggedDisk } from './machine.ts'
import { QmpRefusal, type QmpClient } from './qmp.ts'

/** The guest has to let go of the device; one that is busy takes its time. */
const UNPLUG_TIMEOUT_MS = 30_000
/** A guest that was booting or suspended when it was asked doesn't remember: it is asked again. */
const UNPLUG_RETRY_MS = 5_000

/** Makes the disk appear in the guest. */
export async function plugDisk(qmp: QmpClient, disk: PluggedDisk, throttled: boolean): Promise<void> {
  const name = portDiskName(disk.port)
  const present = await blockNodesPresent(qmp)
  for (const node of blockNodes(name, disk, throttled)) {
    if (!present.has(String(node['node-name']))) await qmp.execute('blockdev-add', node)
  }
  try {
    await qmp.execute('device_add', diskDevice(name, { bus: portBus(disk.port) }))
  } catch (error) {
    if (!isRefusal(error, /duplicate/i)) throw error
  }
}

/** Makes the disk vanish from the guest, and lets go of its file. */
export async function unplugDisk(qmp: QmpClient, port: number, throttled: boolean): Promise<void> {
  const name = portDiskName(port)
  await unplugDevice(qmp, name)
  const present = await blockNodesPresent(qmp)
  for (const node of blockNodeNames(name, throttled)) {
    if (present.has(node)) await qmp.execute('blockdev-del', { 'node-name': node })
  }
}

async function unplugDevice(qmp: QmpClient, name: string): Promise<void> {
  const deadline = performance.now() + UNPLUG_TIMEOUT_MS
  for (;;) {
    const gone = qmp.nextEvent(({ event, data }) => event === 'DEVICE_DELETED' && data['device'] === name, UNPLUG_RETRY_MS)
    gone.catch(() => undefined)
    try {
      await qmp.execute('device_del', { id: name })
    } catch (error) {
      if (error instanceof BerthError && error.cause instanceof QmpRefusal && error.cause.class === 'DeviceNotFound') return
      // Asked already and not answered yet: the event will come.
      if (!isRefusal(error, /in the process of unplug|pending/i)) throw error
    }
    try {
      await gone
      return
    } catch (error) {
      if (!(error instanceof BerthError && error.code === 'timeout')) throw error
      if (performance.now() >= deadline) {
        throw new BerthError('guest_unreachable', 'The guest did not let go of the volume in time; try again.', { cause: error })
      }
    }
  }
}

async function blockNodesPresent(qmp: QmpClient): Promise<Set<string>> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true })
  const names = new Set<string>()
  if (!Array.isArray(nodes)) return names
  for (const node of nodes as readonly unknown[]) {
    if (typeof node === 'object' && node !== null && 'node-name' in node && typeof node['node-name'] === 'string') names.add(node['node-name'])
  }
  return names
}

function isRefusal(error: unknown, pattern: RegExp): boolean {
  return error instanceof BerthError && error.cause instanceof QmpRefusal && pattern.test(error.cause.message)
}
