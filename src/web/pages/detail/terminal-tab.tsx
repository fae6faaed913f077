/**
 * A shell in the instance. Ctrl-Shift-C copies what is selected, Ctrl-Shift-V pastes (or the browser's own menu).
 *
 *   opening ─▶ open ─▶ ended (the shell was left) │ lost (server or VM gone) ─▶ opening, when asked to or when both are back
 */
import '@xterm/xterm/css/xterm.css'
import { Button, Group, Select, Text } from '@mantine/core'
import { FitAddon } from '@xterm/addon-fit'
import { Terminal } from '@xterm/xterm'
import { Moon, RotateCw, SquareTerminal } from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import { isServing } from '../../api/lifecycle.ts'
import type { Instance } from '../../api/types.ts'
import { EmptyState } from '../../components/states.tsx'
import { useConnection } from '../../live/connection.ts'
import { openTerminal } from './exec-socket.ts'
import type { TerminalEnd } from './exec-socket.ts'

const SHELLS = [
  { value: 'auto', label: 'Best shell' },
  { value: '/bin/sh', label: '/bin/sh' },
  { value: '/bin/bash', label: '/bin/bash' },
]
const BEST_SHELL = ['/bin/sh', '-c', 'if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l']
/** A server that has just come back is given a moment. */
const REOPEN_MS = 700
const SCROLLBACK_LINES = 5000
const COLOURS = { background: '#0b1117', foreground: '#d7e0e8', cursor: '#45bfd3', selectionBackground: '#274b5a' }

type State = { readonly kind: 'opening' } | { readonly kind: 'open' } | { readonly kind: 'over'; readonly end: TerminalEnd }

export function TerminalTab({ instance }: { readonly instance: Instance }) {
  const [shell, setShell] = useState('auto')
  const [attempt, setAttempt] = useState(0)
  const [state, setState] = useState<State>({ kind: 'opening' })
  const serving = isServing(instance)
  const connection = useConnection()

  // A terminal that was lost with the server or the VM opens again when both are there.
  const isLost = state.kind === 'over' && state.end.kind === 'broken'
  useEffect(() => {
    if (!isLost || !serving || connection !== 'live') return
    const timer = window.setTimeout(() => setAttempt(count => count + 1), REOPEN_MS)
    return () => window.clearTimeout(timer)
  }, [isLost, serving, connection])

  if (!serving && state.kind !== 'open' && !isLost) {
    return (
      <div className="panel">
        <EmptyState icon={instance.phase === 'standby' ? Moon : SquareTerminal} title={instance.phase === 'standby' ? 'It sleeps' : 'No VM runs'}>
          {instance.phase === 'standby' ? 'Restore it to open a terminal; its processes go on where they were.' : `The instance is ${instance.phase}; a terminal needs it running.`}
        </EmptyState>
      </div>
    )
  }
  return (
    <>
      <Group justify="space-between" mb="xs" gap="sm">
        <Text size="sm" c="dimmed" role="status">
          {tellState(state, instance)}
        </Text>
        <Group gap="xs">
          <Select aria-label="Shell" size="xs" w={130} data={SHELLS} value={shell} onChange={value => setShell(value ?? 'auto')} allowDeselect={false} />
          <Button variant="default" leftSection={<RotateCw size={14} />} disabled={!serving} onClick={() => setAttempt(attempt + 1)}>
            {state.kind === 'over' ? 'Open again' : 'Restart shell'}
          </Button>
        </Group>
      </Group>
      <TerminalBox key={`${shell} ${attempt}`} id={instance.id} command={shell === 'auto' ? BEST_SHELL : [shell, '-l']} onState={setState} />
    </>
  )
}

function tellState(state: State, instance: Instance): string {
  if (state.kind === 'opening') return 'Opening…'
  if (state.kind === 'open') return 'Connected'
  const { end } = state
  if (end.kind === 'exit') return `The shell ended with status ${end.code}.`
  if (end.kind === 'refused') return end.message
  return isServing(instance) ? 'The connection broke; the shell was ended.' : `The VM is gone (${instance.phase}); the shell went with it. It opens again when the instance runs.`
}

interface BoxProps {
  readonly id: string
  readonly command: readonly string[]
  readonly onState: (state: State) => void
}

/** One life of a terminal, from its opening to its end. */
function TerminalBox({ id, command, onState }: BoxProps) {
  const box = useRef<HTMLDivElement>(null)
  const commandText = JSON.stringify(command)

  useEffect(() => {
    const element = box.current
    if (element === null) return
    const terminal = new Terminal({
      fontFamily: "'JetBrains Mono Variable', ui-monospace, monospace",
      fontSize: 13,
      scrollback: SCROLLBACK_LINES,
      theme: COLOURS,
      cursorBlink: true,
      screenReaderMode: true,
    })
    const fit = new FitAddon()
    terminal.loadAddon(fit)
    terminal.open(element)
    fit.fit()
    terminal.focus()
    onState({ kind: 'opening' })
    const session = openTerminal(id, JSON.parse(commandText) as string[], { rows: terminal.rows, cols: terminal.cols }, {
      onStarted: () => onState({ kind: 'open' }),
      onOutput: bytes => terminal.write(bytes),
      onEnd: end => {
        terminal.options.cursorBlink = false
        terminal.options.disableStdin = true
        onState({ kind: 'over', end })
      },
    })
    terminal.onData(text => session.write(text))
    terminal.onResize(size => session.resize(size))
    terminal.attachCustomKeyEventHandler(event => handleClipboard(event, terminal))
    const observer = new ResizeObserver(() => fit.fit())
    observer.observe(element)
    return () => {
      observer.disconnect()
      session.close()
      terminal.dispose()
    }
  }, [id, commandText, onState])

  return <div className="terminal-box" ref={box} data-testid="terminal" />
}

/** Copies and pastes with Ctrl-Shift, as terminals do; false keeps the key from the shell. */
function handleClipboard(event: KeyboardEvent, terminal: Terminal): boolean {
  if (event.type !== 'keydown' || !event.ctrlKey || !event.shiftKey) return true
  if (event.code === 'KeyC' && terminal.hasSelection()) {
    event.preventDefault()
    void navigator.clipboard?.writeText(terminal.getSelection())
    return false
  }
  if (event.code === 'KeyV') {
    // The browser pastes into the terminal's own text field.
    return false
  }
  return true
}
