/**
 * What a new server does about a VM that an earlier one left: takes over what runs, writes down what ended,
 * keeps what sleeps, and ends what was half-way.
 *
 *   running      alive: connect, go on          gone: exited, with what its files tell
 *   suspending   alive: continue it, running    gone: exited
 *   suspended    a VMM that was not ended yet is ended; kept if its state can be trusted, else exited
 *   resuming     ended; the guest had not run, so it is suspended as before
 *   starting     ended; prepared, since its application may not have started
 */
import { rm, stat } from 'node:fs/promises'
import { asBerthError } from '../../instance/errors.ts'
import type { AppExit } from '../../instance/model.ts'
import { connectLink } from './cold-boot.ts'
import { bootId, isAlive, signalProcess } from './identity.ts'
import { clearAway, connect, settleIn } from './lifecycle.ts'
import { besideOf, sweepCopies } from './disk-copy.ts'
import { wakeGuest } from './identity-care.ts'
import { keepLink } from './link-keeper.ts'
import { killVm } from './process.ts'
import type { Seat } from './seat.ts'
import { turnOver } from './log-file.ts'
import { whyNotTrusted } from './standby-ops.ts'
import { readCause, Vmm } from './vmm.ts'

/** QEMU answers in milliseconds, unless the machine is very busy. */
const ADOPT_TIMEOUT_MS = 30_000
const LINK_TIMEOUT_MS = 1_500

export async function recover(seat: Seat): Promise<void> {
  const { record } = seat
  if (record === null) return
  // A server may have ended between telling QEMU of the next log and putting it in its place.
  for (const log of [seat.paths.appLog, seat.paths.consoleLog]) await turnOver(log)
  for (const path of [seat.paths.overlay, ...record.volumes.flatMap(({ overlayPort }) => (overlayPort === null ? [] : seat.paths.volumeOverlay(overlayPort)))]) {
    await rm(besideOf(path), { force: true })
  }
  const alive = record.process !== null && (await isAlive(record.process))
  switch (record.status) {
    case 'running':
    case 'suspending':
      return alive ? await takeOver(seat) : await writeOff(seat)
    case 'suspended':
    case 'resuming':
      if (record.process !== null) await killVm(record.process)
      return await keepAsleep(seat)
    case 'starting':
      if (record.process !== null) await killVm(record.process)
      await clearAway(seat)
      await seat.save({ status: 'prepared', process: null })
      await seat.note('the server ended while the instance was starting')
      return
    case 'exited':
      return await clearAway(seat)
    case 'prepared':
      return
  }
}

async function takeOver(seat: Seat): Promise<void> {
  const record = seat.known
  if (record.process === null) return await writeOff(seat)
  let vmm: Vmm
  try {
    // One that somebody stopped can't answer, and would be taken for one that hangs.
    await signalProcess(record.process, 'SIGCONT')
    vmm = await Vmm.adopt(record.process, seat.paths, ADOPT_TIMEOUT_MS)
  } catch (error) {
    // A QEMU that can't be controlled is of no use to anybody, and must not run beside its successor.
    await seat.note(`the VM could not be taken over: ${asBerthError(error).message}`)
    await killVm(record.process)
    return await writeOff(seat)
  }
  // From here on it is ours, whatever of the rest can't be done now.
  const live = settleIn(seat, vmm)
  await seat.believe({ status: 'running', saved: null })
  await unlessFailing(seat, 'what a copy left in it', () => sweepCopies(vmm.qmp))
  await unlessFailing(seat, 'whether it stands still', async () => {
    // A standby, restore or copy that was cut off left it paused.
    const status = await vmm.qmp.execute('query-status')
    if (typeof status === 'object' && status !== null && 'running' in status && status.running !== true) await vmm.qmp.execute('cont')
  })
  // Costs nothing if its rules are in place, and puts them there if somebody flushed them.
  seat.isUnplugged = !(await unlessFailing(seat, 'its network', () => connect(seat.context, record.spec, { running: true })))
  // A guest that is busy is looked for in the background; it must not hold up the others.
  const link = await connectLink(seat.context, { instanceId: seat.id }, vmm, LINK_TIMEOUT_MS).catch(() => null)
  if (link !== null) await wakeGuest(seat, link)
  keepLink(seat, live, link)
  await seat.note('taken over by a new server')
}

/** False if it failed: one thing that is amiss must not leave a VM that runs without anybody who holds it. */
async function unlessFailing(seat: Seat, what: string, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    await seat.note(`taken over, but ${what} could not be seen to: ${asBerthError(error).message}`)
    seat.context.log.warn({ err: error, instance: seat.id, what }, 'something of a VM that was taken over could not be seen to')
    return false
  }
}

/** The VM is gone; its files may tell how. */
async function writeOff(seat: Seat): Promise<void> {
  const record = seat.known
  const sameBoot = record.process?.bootId === bootId()
  const use = await seat.context.cgroups.use(seat.id)
  const cause = await readCause(seat.paths, {
    agent: null,
    startedAtMs: record.startedAt ?? 0,
    shutdownReason: null,
    panicked: false,
    process: null,
    killedForMemory: use.oomKills > 0,
  })
  // After a restart of the host a VM that told nothing did not end by itself.
  const exit: AppExit | null = sameBoot || cause.message !== UNKNOWN_END ? cause : null
  await seat.save({ status: 'exited', process: null, saved: null, exit })
  await seat.note(exit === null ? 'the host restarted' : `ended while no server ran: ${exit.message}`)
  await clearAway(seat)
}

/** What exit-cause says when there is no evidence at all. */
const UNKNOWN_END = 'VMM died'

async function keepAsleep(seat: Seat): Promise<void> {
  const { saved } = seat.known
  const files = await Promise.all([seat.paths.memory, seat.paths.state].map((path) => stat(path).catch(() => null)))
  const lost = saved === null || files.includes(null) ? 'the standby was lost: its files are missing' : whyNotTrusted(saved)
  if (lost === null) {
    await seat.save({ status: 'suspended', process: null })
    await seat.context.cgroups.remove(seat.id)
    return
  }
  await seat.save({ status: 'exited', process: null, saved: null, exit: { code: 255, signal: null, message: lost } })
  await seat.note(lost)
  await clearAway(seat)
}
