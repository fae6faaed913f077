/** A link inside the dashboard, as Mantine draws links. */
import { Anchor } from '@mantine/core'
import type { ReactNode } from 'react'
import { Link as RouterLink } from 'wouter'

interface LinkProps {
  readonly to: string
  readonly children: ReactNode
  /** Among other words, where colour alone would not tell it from them. */
  readonly inText?: boolean
}

export function Link({ to, children, inText = false }: LinkProps) {
  return (
    <Anchor component={RouterLink} href={to} inherit underline={inText ? 'always' : 'hover'}>
      {children}
    </Anchor>
  )
}
