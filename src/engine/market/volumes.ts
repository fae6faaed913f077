/** The volumes of an order: what its instances have changes first, then what the next ones will have is recorded. */
import type { Order, OrderKind, Orders } from '../../instance/market.ts'
import type { Instance, VolumeMount } from '../../instance/model.ts'
import type { Caller, Instances } from '../api.ts'
import type { Core } from '../core.ts'
import { liveOrder, tellOrder } from './orders.ts'

export async function changeVolumes<K extends OrderKind>(
  core: Core,
  attachments: Pick<Instances, 'attachVolume' | 'detachVolume'>,
  caller: Caller,
  kind: K,
  order: Order,
  instances: readonly Instance[],
  wanted: readonly VolumeMount[],
): Promise<void> {
  const has = order.launch.template.volumes ?? []
  const isIn = (list: readonly VolumeMount[], mount: VolumeMount) => list.some(other => other.volumeId === mount.volumeId)
  for (const instance of instances) {
    for (const mount of instance.spec.volumes) if (!isIn(wanted, mount)) await attachments.detachVolume(caller, instance.id, mount.volumeId)
    for (const mount of wanted) if (!isIn(instance.spec.volumes, mount)) await attachments.attachVolume(caller, instance.id, mount)
  }
  await core.store.transaction(async tx => {
    const now = await liveOrder(tx, caller, kind, order.id)
    const launch = { ...now.launch, template: { ...now.launch.template, volumes: wanted } }
    await tx.putOrder(kind, { ...now, launch, updatedAt: core.now() } as Orders[K])
    const added = wanted.filter(mount => !isIn(has, mount))
    const removed = has.filter(mount => !isIn(wanted, mount))
    const ids = (mounts: readonly VolumeMount[]) => mounts.map(mount => mount.volumeId).join(',')
    if (added.length > 0) await tellOrder(tx, now, core.now(), 'volumes-attached', { volumes: ids(added) })
    if (removed.length > 0) await tellOrder(tx, now, core.now(), 'volumes-removed', { volumes: ids(removed) })
  })
}
