/** The dashboard's beginning: fonts, styles, and the providers around the app. */
import '@fontsource-variable/inter/wght.css'
import '@fontsource-variable/jetbrains-mono/wght.css'
import '@mantine/core/styles.css'
import '@mantine/notifications/styles.css'
import './styles.css'
import { MantineProvider } from '@mantine/core'
import { Notifications } from '@mantine/notifications'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { ApiError } from './api/http.ts'
import { App } from './app.tsx'
import { markStyles, styleNonce } from './nonce.ts'
import { theme } from './theme.ts'

const RETRIES = 2

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // What is shown again is read again: others change it, too, and most of it has no stream of events.
      staleTime: 0,
      refetchOnWindowFocus: true,
      // What was refused stays refused; what did not arrive is tried again.
      retry: (count, error) => count < RETRIES && error instanceof ApiError && error.code === 'offline',
    },
  },
})

markStyles()
const root = document.getElementById('root')
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => styleNonce}>
        <Notifications position="bottom-right" limit={4} />
        <QueryClientProvider client={queries}>
          <App />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  )
}
