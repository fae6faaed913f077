/** What a form about an instance may hold: its name, and when it is started again. */
import type { Wish } from './wish.ts'

export const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

export type Restart = Wish['restart']
export const RESTARTS: { readonly value: Restart; readonly label: string }[] = [
  { value: 'never', label: 'Never' },
  { value: 'on-failure', label: 'When it fails' },
  { value: 'always', label: 'Always' },
]
