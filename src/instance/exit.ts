/** How applications end, in words, and whether they are started again. */
import type { AppExit, RestartPolicy } from './model.ts'

const SIGNALS: Readonly<Record<number, string>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  5: 'SIGTRAP',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  10: 'SIGUSR1',
  11: 'SIGSEGV',
  12: 'SIGUSR2',
  13: 'SIGPIPE',
  14: 'SIGALRM',
  15: 'SIGTERM',
  24: 'SIGXCPU',
  25: 'SIGXFSZ',
  31: 'SIGSYS',
}
/** An exit code past this means a signal: code − 128. */
const SIGNAL_CODE_BASE = 128
const SIGNAL_MAX = 64

/** The exit of a process that ended with a code. */
export function exitedWith(code: number, message = 'exited'): AppExit {
  return { code: code & 0xff, signal: null, message }
}

/** The exit of a process that a signal ended. */
export function endedBySignal(signal: number, message = 'exited'): AppExit {
  return { code: (SIGNAL_CODE_BASE + signal) & 0xff, signal, message }
}

/** `SIGKILL`, or `signal 40` where there is no name. */
export function signalName(signal: number): string {
  return SIGNALS[signal] ?? `signal ${signal}`
}

/** The number of `SIGTERM`, `term` or `15`; null if there is none. */
export function signalNumber(text: string): number | null {
  if (/^[0-9]{1,2}$/.test(text)) {
    const number = Number(text)
    return number >= 1 && number <= SIGNAL_MAX ? number : null
  }
  const name = text.toUpperCase().replace(/^(SIG)?/, 'SIG')
  const found = Object.entries(SIGNALS).find(([, known]) => known === name)
  return found === undefined ? null : Number(found[0])
}

/** One line for a person: `exited with code 3`, `ended by SIGKILL (137): out of memory`. */
export function describeExit(exit: AppExit): string {
  const how = exit.signal === null ? `exited with code ${exit.code}` : `ended by ${signalName(exit.signal)} (${exit.code})`
  return exit.message === '' || exit.message === 'exited' ? how : `${how}: ${exit.message}`
}

export type RestartDecision =
  | { readonly kind: 'restart'; readonly afterMs: number; readonly attempts: number }
  | { readonly kind: 'stay' }
  /** The policy wants it, but it has failed too often. */
  | { readonly kind: 'blocked'; readonly reason: 'max_attempts_exceeded' }

/**
 * Whether an application that ended by itself is started again. `attempts` is how often it already was;
 * it counts from 0 again once the application ran for as long as the policy calls stable.
 */
export function decideRestart(
  policy: RestartPolicy,
  ended: { readonly exit: AppExit; readonly attempts: number; readonly ranForMs: number },
): RestartDecision {
  if (policy.kind === 'never') return { kind: 'stay' }
  if (policy.kind === 'on-failure' && ended.exit.code === 0) return { kind: 'stay' }
  const before = ended.ranForMs >= policy.stableAfterMs ? 0 : ended.attempts
  if (policy.maxAttempts > 0 && before >= policy.maxAttempts) return { kind: 'blocked', reason: 'max_attempts_exceeded' }
  return { kind: 'restart', afterMs: policy.backoffMs, attempts: before + 1 }
}
