/** Who is signed in decides what is shown: the sign-in page, or everything. The address stays what it is either way. */
import { Center, Loader } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useCallback, useEffect, useState } from 'react'
import { ApiError, onSignedOut } from './api/http.ts'
import { signOut, whoami } from './api/session.ts'
import type { Whoami } from './api/types.ts'
import { ErrorState } from './components/states.tsx'
import { MeProvider } from './components/me.tsx'
import { Shell } from './components/shell.tsx'
import { watchFleet } from './live/fleet.ts'
import { Pages } from './pages/pages.tsx'
import { SignInPage } from './pages/sign-in.tsx'

export function App() {
  const queries = useQueryClient()
  const [wasSignedIn, setWasSignedIn] = useState(false)
  const me = useQuery({ queryKey: ['whoami'], queryFn: ({ signal }) => whoami(signal), staleTime: Infinity, refetchOnWindowFocus: false })

  useEffect(
    () =>
      onSignedOut(() => {
        // Whatever was known belongs to the session that is over.
        queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'whoami' })
        if (queries.getQueryData(['whoami']) !== undefined) setWasSignedIn(true)
        void queries.resetQueries({ queryKey: ['whoami'] })
      }),
    [queries],
  )

  const leave = useCallback(async () => {
    await signOut()
    setWasSignedIn(false)
    queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'whoami' })
    await queries.resetQueries({ queryKey: ['whoami'] })
  }, [queries])

  if (me.data !== undefined) return <SignedIn me={me.data} onLeave={leave} />
  if (me.error instanceof ApiError && me.error.status === 401) {
    return <SignInPage wasSignedIn={wasSignedIn} onSignedIn={() => void queries.resetQueries({ queryKey: ['whoami'] })} />
  }
  if (me.error !== null) {
    return (
      <Center mih="100vh">
        <ErrorState error={me.error} onRetry={() => void me.refetch()} />
      </Center>
    )
  }
  return (
    <Center mih="100vh">
      <Loader aria-label="Loading" />
    </Center>
  )
}

function SignedIn({ me, onLeave }: { readonly me: Whoami; readonly onLeave: () => Promise<void> }) {
  useEffect(watchFleet, [])
  return (
    <MeProvider value={me}>
      <Shell me={me} onLeave={onLeave}>
        <Pages />
      </Shell>
    </MeProvider>
  )
}
