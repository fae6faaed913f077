/**
 * The table of instances: only the rows on the screen exist, so ten thousand scroll like ten.
 *
 * One element has the focus, the grid itself; the active row is told by aria-activedescendant.
 *   ↑ ↓ j k PageUp PageDown Home End  move     Enter  open     Space  select     Ctrl-A  select all     Esc  select none
 */
import { Checkbox } from '@mantine/core'
import { useVirtualizer } from '@tanstack/react-virtual'
import { ArrowDown, ArrowUp } from 'lucide-react'
import { memo, useRef, useState } from 'react'
import type { CSSProperties, KeyboardEvent } from 'react'
import { useLocation } from 'wouter'
import type { Instance } from '../../api/types.ts'
import { columnsFor, WIDE_MIN } from './columns.tsx'
import type { Column } from './columns.tsx'
import type { Filter } from './filter.ts'

const ROW_HEIGHT = 44
const HEAD_HEIGHT = 36
const OVERSCAN = 8
const PAGE_ROWS = 12

interface GridProps {
  readonly rows: readonly Instance[]
  readonly filter: Filter
  readonly onSort: (change: Partial<Filter>) => void
  readonly selected: ReadonlySet<string>
  readonly onSelect: (selected: ReadonlySet<string>) => void
  readonly isNarrow: boolean
}

export function InstanceGrid({ rows, filter, onSort, selected, onSelect, isNarrow }: GridProps) {
  const box = useRef<HTMLDivElement>(null)
  const [, navigate] = useLocation()
  const [activeId, setActiveId] = useState<string | null>(null)
  const columns = columnsFor(isNarrow)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    scrollPaddingStart: HEAD_HEIGHT,
    getItemKey: index => rows[index]?.id ?? index,
  })
  const active = activeId === null ? -1 : rows.findIndex(({ id }) => id === activeId)
  const template = `28px ${columns.map(({ width }) => width).join(' ')}`
  const style = { '--grid-min': isNarrow ? '0' : WIDE_MIN, height: `min(max(calc(100dvh - 232px), 260px), ${HEAD_HEIGHT + 1 + rows.length * ROW_HEIGHT}px)` } as CSSProperties

  const toggle = (id: string) => {
    const next = new Set(selected)
    if (!next.delete(id)) next.add(id)
    onSelect(next)
  }
  const move = (to: number) => {
    const index = Math.max(0, Math.min(rows.length - 1, to))
    setActiveId(rows[index]?.id ?? null)
    if (rows.length > 0) virtual.scrollToIndex(index)
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== box.current) return
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: active + 1,
      j: active + 1,
      ArrowUp: active - 1,
      k: active - 1,
      PageDown: active + PAGE_ROWS,
      PageUp: active - PAGE_ROWS,
      Home: 0,
      End: rows.length - 1,
    }
    const to = moves[event.key]
    if (to !== undefined) move(to)
    else if (event.key === 'Enter' && activeId !== null) navigate(`/ui/instances/${activeId}`)
    else if (event.key === ' ' && activeId !== null) toggle(activeId)
    else if (event.key === 'a' && (event.ctrlKey || event.metaKey)) onSelect(new Set(rows.map(({ id }) => id)))
    else if (event.key === 'Escape') onSelect(new Set())
    else return
    event.preventDefault()
  }

  const isAll = rows.length > 0 && rows.every(({ id }) => selected.has(id))
  return (
    <div
      ref={box}
      className="grid"
      style={style}
      role="grid"
      aria-label="Instances"
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length + 1}
      aria-multiselectable
      aria-activedescendant={active < 0 ? undefined : `row-${activeId}`}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onFocus={() => activeId === null && move(0)}
    >
      <div className="grid-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
        <span role="columnheader" aria-label="Selection">
          <Checkbox size="xs" aria-label="Select all" checked={isAll} indeterminate={selected.size > 0 && !isAll} onChange={() => onSelect(isAll ? new Set() : new Set(rows.map(({ id }) => id)))} />
        </span>
        {columns.map(column => (
          <HeadCell key={column.name} column={column} filter={filter} onSort={onSort} />
        ))}
      </div>
      <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: 'relative' }}>
        {virtual.getVirtualItems().map(({ index, start, key }) => {
          const instance = rows[index]
          if (instance === undefined) return null
          return (
            <Row
              key={key}
              instance={instance}
              index={index}
              start={start}
              template={template}
              columns={columns}
              isSelected={selected.has(instance.id)}
              isActive={instance.id === activeId}
              onToggle={toggle}
              onActivate={setActiveId}
            />
          )
        })}
      </div>
    </div>
  )
}

function HeadCell({ column, filter, onSort }: { readonly column: Column; readonly filter: Filter; readonly onSort: GridProps['onSort'] }) {
  const { name, sort, right } = column
  const side = right === true ? 'right' : undefined
  if (sort === undefined) {
    return (
      <span role="columnheader" className={side}>
        {name}
      </span>
    )
  }
  const isSorted = filter.sort === sort
  const Arrow = filter.descending ? ArrowDown : ArrowUp
  return (
    <span role="columnheader" className={side} aria-sort={isSorted ? (filter.descending ? 'descending' : 'ascending') : 'none'}>
      <button type="button" className="sort-button" onClick={() => onSort({ sort, descending: isSorted ? !filter.descending : sort === 'created' })}>
        {name}
        {isSorted && <Arrow size={12} aria-hidden />}
      </button>
    </span>
  )
}

interface RowProps {
  readonly instance: Instance
  readonly index: number
  readonly start: number
  readonly template: string
  readonly columns: readonly Column[]
  readonly isSelected: boolean
  readonly isActive: boolean
  readonly onToggle: (id: string) => void
  readonly onActivate: (id: string) => void
}

const Row = memo(function Row({ instance, index, start, template, columns, isSelected, isActive, onToggle, onActivate }: RowProps) {
  const [, navigate] = useLocation()
  return (
    <div
      className="grid-row"
      role="row"
      id={`row-${instance.id}`}
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      data-active={isActive}
      style={{ gridTemplateColumns: template, transform: `translateY(${start}px)` }}
      onMouseDown={() => onActivate(instance.id)}
      onClick={() => navigate(`/ui/instances/${instance.id}`)}
    >
      <span role="gridcell" onClick={event => event.stopPropagation()}>
        <Checkbox size="xs" tabIndex={-1} aria-label={`Select ${instance.name}`} checked={isSelected} onChange={() => onToggle(instance.id)} />
      </span>
      {columns.map(({ name, cell, right }) => (
        <span key={name} role="gridcell" className={right === true ? 'truncate right' : 'truncate'}>
          {cell(instance)}
        </span>
      ))}
    </div>
  )
})
