/** A phase, as a coloured dot and its word: never by colour alone. */
import type { Instance } from '../api/types.ts'

type Phase = Instance['phase']
export type Tone = 'good' | 'busy' | 'rest' | 'off' | 'bad'

const TONES: Readonly<Record<Phase, Tone>> = {
  pending: 'busy',
  allocated: 'busy',
  preparing: 'busy',
  starting: 'busy',
  running: 'good',
  unhealthy: 'bad',
  stopping: 'busy',
  stopped: 'off',
  suspending: 'busy',
  standby: 'rest',
  restoring: 'busy',
  preempting: 'busy',
  preempted: 'off',
  deleting: 'busy',
  deleted: 'off',
  failed: 'bad',
  lost: 'bad',
}

export function toneOf(phase: Phase): Tone {
  return TONES[phase]
}

export function PhaseBadge({ phase }: { readonly phase: Phase }) {
  return <Status tone={TONES[phase]} word={phase} />
}

export function Status({ tone, word }: { readonly tone: Tone; readonly word: string }) {
  return (
    <span className={`phase tone-${tone}`}>
      <span className="phase-dot" aria-hidden />
      {word}
    </span>
  )
}

/** A status in a table, and why it is so. */
export function StateCell({ tone, word, note }: { readonly tone: Tone; readonly word: string; readonly note: string | null }) {
  return (
    <>
      <Status tone={tone} word={word} />
      {note !== null && note !== '' && <div className="cell-note">{note}</div>}
    </>
  )
}
