/** A link inside the dashboard, as Mantine draws links. */
import { Anchor } from '@mantine/core'
import type { ReactNode } from 'react'
import { Link as RouterLink } from 'wouter'

export function Link({ to, children, className }: { readonly to: string; readonly children: ReactNode; readonly className?: string }) {
  return (
    <Anchor component={RouterLink} href={to} inherit {...(className === undefined ? {} : { className })}>
      {children}
    </Anchor>
  )
}
