/**
 * An instance whose VM comes from the pool: the VM moves into the instance's seat when the instance is prepared,
 * learns who it is meanwhile, and is the instance's when it is started. Whatever goes wrong on the way, the
 * instance is started without.
 */
import type { KeptSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { become, dropBlank, moveIn, type Blank } from './blank.ts'
import type { Prepared, PreparedDisks, Running } from './cold-boot.ts'
import type { Seat } from './seat.ts'
import type { ImageTemplateKey } from './template.ts'

/** A VM that has moved in. */
export interface FromPool {
  readonly blank: Blank
  /** The disks it was given, and itself once it knows who it is. */
  readonly disks: Promise<PreparedDisks>
  readonly running: Promise<Running>
}

/** A VM of the pool moves in, if one waits that this instance, which has nothing yet, can be. */
export async function takeBlank(seat: Seat, spec: KeptSpec, key: ImageTemplateKey): Promise<Blank | null> {
  const { context } = seat
  // A disk that is mounted already can't be put behind a limit.
  const blank = context.pool?.take(key, { mounted: spec.diskIoBytesPerSecond === null }) ?? null
  if (blank === null) return null
  try {
    await moveIn(context, blank, spec)
    return blank
  } catch (error) {
    context.log.warn({ err: error, instance: seat.id }, 'a VM of the pool could not become an instance; it is started without')
    await dropBlank(context, blank, seat.id)
    context.jail.release(seat.id)
    return null
  }
}

/** The VM learns who it is as soon as its disks are there. */
export function beginToBe(seat: Seat, blank: Blank, disks: Promise<PreparedDisks>): void {
  const running = disks.then((ready) => become(seat.context, blank, ready))
  // Awaited when the instance starts; until then nobody has to know.
  running.catch(() => undefined)
  seat.fromPool = { blank, disks, running }
}

/** The VM, when it is this very instance. It is the caller's from now on. */
export async function settledIn(seat: Seat, moved: FromPool, prepared: Prepared): Promise<Running> {
  const disks = await moved.disks
  if (disks.spec !== prepared.spec) throw new BerthError('internal', 'The instance is to be another than the VM was told.')
  const running = await moved.running
  // It may have died since: as long as nothing of the application has run, that costs only time.
  await running.link.ping()
  seat.fromPool = null
  return running
}

/** Ends a VM that moved in and did not become the instance. */
export async function endBlank(seat: Seat): Promise<void> {
  const { fromPool } = seat
  seat.fromPool = null
  seat.prepared = null
  if (fromPool !== null) await dropBlank(seat.context, fromPool.blank, seat.id)
}
