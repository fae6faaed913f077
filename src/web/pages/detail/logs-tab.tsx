/** What the instance wrote: live, searchable, following its end unless one scrolls up. */
import { Button, Checkbox, Group, SegmentedControl, Text, TextInput } from '@mantine/core'
import type { ReactNode } from 'react'
import { ArrowDownToLine, FileText, Search } from 'lucide-react'
import { memo, useDeferredValue, useEffect, useMemo, useRef, useState } from 'react'
import type { Instance } from '../../api/types.ts'
import { formatClock } from '../../components/format.ts'
import { EmptyState, ErrorState } from '../../components/states.tsx'
import { useLog } from './log-lines.ts'
import type { LogLine, LogSource } from './log-lines.ts'

const SOURCES = [
  { value: 'app', label: 'Application' },
  { value: 'vmm', label: 'VM and kernel' },
  { value: 'server', label: 'Berth' },
]
/** So close to the end counts as at the end. */
const END_PX = 24

export function LogsTab({ instance }: { readonly instance: Instance }) {
  const [source, setSource] = useState<LogSource>('app')
  const [text, setText] = useState('')
  const [follows, setFollows] = useState(true)
  const search = useDeferredValue(text.trim().toLowerCase())
  const { lines, isOpen, problem } = useLog(instance.id, source, `${instance.generation} ${instance.phase}`)
  const shown = useMemo(() => (search === '' ? lines : lines.filter(line => line.text.toLowerCase().includes(search))), [lines, search])
  const box = useRef<HTMLDivElement>(null)

  useEffect(() => {
    if (follows && box.current !== null) box.current.scrollTop = box.current.scrollHeight
  }, [shown, follows])

  return (
    <>
      <Group mb="sm" gap="sm" justify="space-between">
        <Group gap="sm">
          <SegmentedControl size="xs" aria-label="Source" data={SOURCES} value={source} onChange={value => setSource(value as LogSource)} />
          <TextInput
            aria-label="Search the log"
            placeholder="Search"
            size="xs"
            w={210}
            leftSection={<Search size={13} aria-hidden />}
            value={text}
            onChange={event => setText(event.currentTarget.value)}
          />
          <Text size="xs" c="dimmed" role="status">
            {search === '' ? `${lines.length} ${lines.length === 1 ? 'line' : 'lines'}` : `${shown.length} of ${lines.length} lines`}
            {isOpen ? ', live' : ''}
          </Text>
        </Group>
        <Group gap="sm">
          <Checkbox size="xs" label="Follow" checked={follows} onChange={event => setFollows(event.currentTarget.checked)} />
          <Button variant="default" leftSection={<ArrowDownToLine size={14} />} onClick={() => save(instance.name, lines)} disabled={lines.length === 0}>
            Save
          </Button>
        </Group>
      </Group>
      <div className="panel" style={{ overflow: 'hidden' }}>
        {problem !== null && lines.length === 0 ? (
          <ErrorState error={problem} />
        ) : shown.length === 0 ? (
          <EmptyState icon={FileText} title={search === '' ? 'Nothing was written yet' : 'No line holds that'} {...(search === '' ? { command: `berth logs -f ${instance.name}` } : {})}>
            {search === '' ? 'What the application writes to its standard output and error appears here at once.' : undefined}
          </EmptyState>
        ) : (
          <div
            className="log"
            ref={box}
            role="log"
            aria-label="Log"
            aria-live="off"
            tabIndex={0}
            onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => setFollows(scrollHeight - scrollTop - clientHeight < END_PX)}
          >
            {shown.map(line => (
              <Line key={line.number} line={line} search={search} />
            ))}
          </div>
        )}
      </div>
    </>
  )
}

const Line = memo(function Line({ line, search }: { readonly line: LogLine; readonly search: string }) {
  return (
    <div className="log-line" data-stream={line.stream}>
      <span className="log-time">{line.at === null ? '' : formatClock(line.at)}</span>
      <span className="log-text">{search === '' ? line.text : marked(line.text, search)}</span>
    </div>
  )
})

function marked(text: string, search: string): ReactNode {
  const at = text.toLowerCase().indexOf(search)
  if (at < 0) return text
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + search.length)}</mark>
      {marked(text.slice(at + search.length), search)}
    </>
  )
}

function save(name: string, lines: readonly LogLine[]): void {
  const text = lines.map(({ at, text: line }) => `${at ?? ''} ${line}\n`).join('')
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }))
  const anchor = document.createElement('a')
  anchor.href = url
  anchor.download = `${name}.log`
  anchor.click()
  URL.revokeObjectURL(url)
}
