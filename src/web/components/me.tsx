/** Who is signed in, for whatever depends on what the key may do. */
import { createContext, useContext } from 'react'
import type { Whoami } from '../api/types.ts'

const Me = createContext<Whoami | null>(null)
export const MeProvider = Me.Provider

export function useMe(): Whoami {
  const me = useContext(Me)
  if (me === null) throw new Error('There is no signed-in user here.')
  return me
}

export function useMay(scope: Whoami['scopes'][number]): boolean {
  return useMe().scopes.includes(scope)
}
