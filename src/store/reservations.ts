/** What instances hold of hosts. The database itself refuses an address or a port that is given twice. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Reservation, StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { HostId, InstanceId } from '../instance/model.ts'
import type { Database } from './schema.ts'
import { isOneOf, violatedUnique } from './sqlite.ts'

export function readReservations(db: Kysely<Database>): Pick<StoreReader, 'reservations' | 'reservation' | 'usage' | 'slotUse' | 'addresses'> {
  return {
    async reservations(hostId) {
      const rows = await db.selectFrom('reservations').selectAll().where('host_id', '=', hostId).orderBy('instance_id').execute()
      const ports = await db.selectFrom('reserved_ports').selectAll().where('host_id', '=', hostId).orderBy('port').execute()
      const byInstance = Map.groupBy(ports, (row) => row.instance_id)
      return rows.map((row) => fromRow(row, byInstance.get(row.instance_id) ?? []))
    },
    async usage(hostId, except) {
      let select = db.selectFrom('reservations').where('host_id', '=', hostId)
      if (except !== null) select = select.where('instance_id', '<>', except)
      const held = await select
        .select(({ fn }) => [
          fn.coalesce(fn.sum<number>('vcpus'), sql.lit(0)).as('vcpus'),
          fn.coalesce(fn.sum<number>('memory_bytes'), sql.lit(0)).as('memoryBytes'),
          fn.coalesce(fn.sum<number>('disk_bytes'), sql.lit(0)).as('diskBytes'),
        ])
        .executeTakeFirstOrThrow()
      const { volumeBytes } = await db
        .selectFrom('volumes')
        .select(({ fn }) => fn.coalesce(fn.sum<number>('size_bytes'), sql.lit(0)).as('volumeBytes'))
        .executeTakeFirstOrThrow()
      const { sharedBytes } = await db
        .selectFrom('file_systems')
        .select(({ fn }) => fn.coalesce(fn.sum<number>('size_bytes'), sql.lit(0)).as('sharedBytes'))
        .executeTakeFirstOrThrow()
      const { snapshotBytes } = await db
        .selectFrom('snapshots')
        .select(({ fn }) => fn.coalesce(fn.sum<number>('size_bytes'), sql.lit(0)).as('snapshotBytes'))
        .where('host_id', '=', hostId)
        .executeTakeFirstOrThrow()
      return { ...held, volumeBytes: volumeBytes + sharedBytes, snapshotBytes }
    },
    async slotUse(except) {
      // In the words of the index over it.
      let select = db.selectFrom('reservations').where('slot_type', 'is not', null).where('vcpus', '>', 0)
      if (except !== null) select = select.where('instance_id', '<>', except)
      const rows = await select
        .select(({ fn }) => ['slot_region', 'slot_type', fn.countAll<number>().as('used')])
        .groupBy(['slot_region', 'slot_type'])
        .execute()
      return rows.map((row) => ({ region: row.slot_region ?? '', type: row.slot_type ?? '', used: row.used }))
    },
    async addresses(hostId) {
      const rows = await db.selectFrom('reservations').select('ip').where('host_id', '=', hostId).where('ip', 'is not', null).execute()
      return rows.flatMap((row) => row.ip ?? [])
    },
    async reservation(instanceId) {
      const row = await db.selectFrom('reservations').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
      if (row === undefined) return null
      const ports = await db.selectFrom('reserved_ports').selectAll().where('instance_id', '=', instanceId).orderBy('port').execute()
      return fromRow(row, ports)
    },
  }
}

function fromRow(row: Database['reservations'], ports: readonly { readonly port: string }[]): Reservation {
  return {
    instanceId: row.instance_id as InstanceId,
    hostId: row.host_id as HostId,
    vcpus: row.vcpus,
    memoryBytes: row.memory_bytes,
    diskBytes: row.disk_bytes,
    ip: row.ip,
    ports: ports.map((port) => port.port),
    slot: row.slot_region === null || row.slot_type === null ? null : { region: row.slot_region, type: row.slot_type },
  }
}

export function writeReservations(db: Kysely<Database>): Pick<StoreTx, 'putReservation' | 'deleteReservation'> {
  return {
    async putReservation(reservation) {
      await putRow(db, reservation)
      await db.deleteFrom('reserved_ports').where('instance_id', '=', reservation.instanceId).execute()
      if (reservation.ports.length > 0) await putPorts(db, reservation)
    },
    async deleteReservation(instanceId) {
      await db.deleteFrom('reservations').where('instance_id', '=', instanceId).execute()
    },
  }
}

async function putRow(db: Kysely<Database>, reservation: Reservation): Promise<void> {
  const columns = {
    host_id: reservation.hostId,
    vcpus: reservation.vcpus,
    memory_bytes: reservation.memoryBytes,
    disk_bytes: reservation.diskBytes,
    ip: reservation.ip,
    slot_region: reservation.slot?.region ?? null,
    slot_type: reservation.slot?.type ?? null,
  }
  try {
    await db
      .insertInto('reservations')
      .values({ instance_id: reservation.instanceId, ...columns })
      .onConflict((conflict) => conflict.column('instance_id').doUpdateSet(columns))
      .execute()
  } catch (error) {
    if (violatedUnique(error) === null) throw error
    throw new BerthError('already_exists', `The address ${reservation.ip} is reserved for another instance on that host.`, { cause: error })
  }
}

async function putPorts(db: Kysely<Database>, reservation: Reservation): Promise<void> {
  // A list may name a port twice; the instance then holds it once.
  const ports = [...new Set(reservation.ports)]
  const rows = ports.map((port) => ({ host_id: reservation.hostId, port, instance_id: reservation.instanceId }))
  try {
    await db.insertInto('reserved_ports').values(rows).execute()
  } catch (error) {
    if (violatedUnique(error) === null) throw error
    const taken = await db
      .selectFrom('reserved_ports')
      .select('port')
      .where('host_id', '=', reservation.hostId)
      .where(isOneOf('port', ports))
      .executeTakeFirst()
    throw new BerthError('port_in_use', `The host port ${taken?.port ?? ''} is published by another instance: choose another.`, {
      details: { port: taken?.port ?? null },
      cause: error,
    })
  }
}
