/**
 * The frame of every list: its table, the button that makes another one, the form behind that button, and what is said
 * while there is nothing. A page of its own, or a panel among others.
 */
import { Button } from '@mantine/core'
import type { LucideIcon } from 'lucide-react'
import { Plus } from 'lucide-react'
import { useState } from 'react'
import type { ReactNode } from 'react'
import type { Whoami } from '../api/types.ts'
import { DataTable } from './data-table.tsx'
import type { Field } from './data-table.tsx'
import { useMay } from './me.tsx'
import { Page, Panel } from './page.tsx'
import { EmptyState } from './states.tsx'
import type { List } from './use-list.ts'

interface ListProps<T> {
  readonly title: string
  readonly list: List<T>
  readonly keyOf: (item: T) => string
  readonly fields: readonly Field<T>[]
  readonly make: {
    readonly label: string
    readonly icon?: LucideIcon
    readonly scope?: Whoami['scopes'][number]
    readonly form: (close: () => void) => ReactNode
  }
  readonly empty: { readonly icon: LucideIcon; readonly title: string; readonly text: string; readonly command: string }
}

/** What is on the page beside the table: dialogs about one of its rows. */
interface Beside {
  readonly children?: ReactNode
}

export function ListPage<T>({ note, children, ...props }: ListProps<T> & Beside & { readonly note: string }) {
  const { button, form } = useMaking(props)
  return (
    <Page title={props.title} note={note} actions={button}>
      <Panel>
        <ListTable {...props} button={button} />
      </Panel>
      {form}
      {children}
    </Page>
  )
}

export function ListPanel<T>({ children, ...props }: ListProps<T> & Beside) {
  const { button, form } = useMaking(props)
  return (
    <Panel title={props.title} actions={button}>
      <ListTable {...props} button={button} />
      {form}
      {children}
    </Panel>
  )
}

function useMaking<T>({ make: { label, icon: Icon = Plus, scope = 'write', form } }: ListProps<T>) {
  const [makes, setMakes] = useState(false)
  const button = useMay(scope) && (
    <Button leftSection={<Icon size={14} />} onClick={() => setMakes(true)}>
      {label}
    </Button>
  )
  return { button, form: makes && form(() => setMakes(false)) }
}

function ListTable<T>({ title, list, keyOf, fields, empty, button }: ListProps<T> & { readonly button: ReactNode }) {
  const { icon, text, command } = empty
  return (
    <DataTable
      label={title}
      items={list.items}
      error={list.error}
      onRetry={() => void list.again()}
      keyOf={keyOf}
      fields={fields}
      empty={
        <EmptyState icon={icon} title={empty.title} action={button} command={command}>
          {text}
        </EmptyState>
      }
    />
  )
}
