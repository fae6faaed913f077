/** How a VM's life ended, from all that is known of it. Pure. */
import type { AppExit } from '../../instance/model.ts'
import { parseLogLine } from '../guest-link/log-line.ts'
import type { ProcessEnd } from './process.ts'

const SIGKILL = 9

export interface EndEvidence {
  /** What the agent told over the link, or wrote as the last record of the application's log. */
  readonly agent: AppExit | null
  /** QMP: `guest-shutdown`, `guest-reset`, `guest-panic`, `host-qmp-quit`, …; null if none was heard. */
  readonly shutdownReason: string | null
  readonly panicked: boolean
  /** The end of the guest's console. */
  readonly console: string
  /** The end of what QEMU printed. */
  readonly vmmLog: string
  readonly process: ProcessEnd | null
  /** The kernel of the host killed it because its memory was used up. */
  readonly killedForMemory: boolean
}

export function exitCause(evidence: EndEvidence): AppExit {
  if (evidence.agent !== null) return evidence.agent
  const panic = /Kernel panic - not syncing: ?(.*)/.exec(evidence.console)?.[1]?.trim() ?? null
  if (panic !== null && /out of memory|deadlocked on memory/i.test(panic)) return { code: 137, signal: SIGKILL, message: 'out of memory' }
  if (panic !== null || evidence.panicked || evidence.shutdownReason === 'guest-panic') {
    return { code: 255, signal: null, message: panic === null || panic === '' ? 'guest panicked' : `guest panicked: ${panic.slice(0, 200)}` }
  }
  if (evidence.shutdownReason === 'guest-shutdown' || evidence.shutdownReason === 'guest-reset') {
    return { code: 0, signal: null, message: 'powered off' }
  }
  if (evidence.killedForMemory) return { code: 137, signal: SIGKILL, message: 'VMM died: the host killed it because its memory limit was reached' }
  const signal = evidence.process?.signal ?? null
  if (signal !== null) return { code: signal === 'SIGKILL' ? 137 : 255, signal: signal === 'SIGKILL' ? SIGKILL : null, message: `VMM died: ended by ${signal}` }
  const words = lastError(evidence.vmmLog)
  return { code: 255, signal: null, message: words === null ? 'VMM died' : `VMM died: ${words}` }
}

/** The agent's last record, if it was written since `sinceMs`: `… berth F exit code=0 signal=0 reason=exited`. */
export function exitRecord(logEnd: string, sinceMs: number): AppExit | null {
  for (const line of logEnd.split('\n').toReversed()) {
    const parsed = parseLogLine(line)
    if (parsed.kind === 'exit') return parsed.at < sinceMs ? null : parsed.exit
  }
  return null
}

/** QEMU's own complaint, if it made one. */
export function lastError(vmmLog: string): string | null {
  const lines = vmmLog.split('\n').filter((line) => line.startsWith('qemu-system') || line.startsWith('setpriv:'))
  const last = lines.at(-1)
  return last === undefined ? null : last.replace(/^qemu-system-\S+: /, '').slice(0, 300)
}
