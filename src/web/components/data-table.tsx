/**
 * A plain table of records: names of columns, a cell each, and what stands there while there is nothing. On a phone each
 * record is a card; the roles keep it a table for whoever only hears it.
 */
import type { ReactNode } from 'react'
import { ErrorState, LoadingRows } from './states.tsx'

export interface Field<T> {
  readonly name: string
  readonly cell: (item: T) => ReactNode
  /** Figures and actions stand at the right. */
  readonly right?: boolean
  /** The name is read out only. */
  readonly quiet?: boolean
}

interface DataTableProps<T> {
  readonly label: string
  readonly items: readonly T[] | undefined
  readonly error: unknown
  readonly onRetry: () => void
  readonly keyOf: (item: T) => string | number
  readonly fields: readonly Field<T>[]
  readonly empty: ReactNode
}

export function DataTable<T>({ label, items, error, onRetry, keyOf, fields, empty }: DataTableProps<T>) {
  if (items === undefined) return error === null ? <LoadingRows rows={4} /> : <ErrorState error={error} onRetry={onRetry} />
  if (items.length === 0) return empty
  return (
    <div className="table-scroll" role="region" aria-label={label} tabIndex={0}>
      <table className="table cards" role="table">
        <thead role="rowgroup">
          <tr role="row">
            {fields.map(({ name, right, quiet }) => (
              <th key={name} scope="col" role="columnheader" style={right === true ? { textAlign: 'right' } : {}}>
                {quiet === true ? <span className="visually-hidden">{name}</span> : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {items.map(item => (
            <tr key={keyOf(item)} role="row">
              {fields.map(({ name, cell, right, quiet }) => (
                <td key={name} role="cell" data-name={quiet === true ? undefined : name} style={right === true ? { textAlign: 'right' } : {}}>
                  <div>{cell(item)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
