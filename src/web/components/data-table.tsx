/** A plain table of records: names of columns, a cell each, and what stands there while there is nothing. */
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
      <table className="table">
        <thead>
          <tr>
            {fields.map(({ name, right, quiet }) => (
              <th key={name} scope="col" style={right === true ? { textAlign: 'right' } : {}}>
                {quiet === true ? <span className="visually-hidden">{name}</span> : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {items.map(item => (
            <tr key={keyOf(item)}>
              {fields.map(({ name, cell, right }) => (
                <td key={name} style={right === true ? { textAlign: 'right' } : {}}>
                  {cell(item)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
