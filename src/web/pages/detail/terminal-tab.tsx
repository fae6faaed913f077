/**
 * A shell in the instance, on a screen that stays when the shell goes.
 *
 *   opening ─▶ open ─▶ ended (the shell was left) │ lost (server or VM gone) ─▶ opening, when asked to or when both are back
 */
import { Button, Group, Select, Text } from '@mantine/core'
import type { Terminal } from '@xterm/xterm'
import { Copy, Moon, RotateCw, SquareTerminal } from 'lucide-react'
import { useCallback, useEffect, useRef, useState } from 'react'
import { isServing } from '../../api/lifecycle.ts'
import type { Instance } from '../../api/types.ts'
import { tellDone, tellError } from '../../components/notice.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useConnection } from '../../live/connection.ts'
import { copySelection, TerminalBox } from './terminal-box.tsx'
import type { TerminalState } from './terminal-box.tsx'

const SHELLS = [
  { value: 'auto', label: 'Best shell' },
  { value: '/bin/sh', label: '/bin/sh' },
  { value: '/bin/bash', label: '/bin/bash' },
]
const BEST_SHELL = ['/bin/sh', '-c', 'if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l']
/** A server that has just come back is given a moment. */
const REOPEN_MS = 700

export function TerminalTab({ instance }: { readonly instance: Instance }) {
  const [shell, setShell] = useState('auto')
  const [attempt, setAttempt] = useState(0)
  const [state, setState] = useState<TerminalState>({ kind: 'opening' })
  const [hasSelection, setHasSelection] = useState(false)
  const screen = useRef<Terminal | null>(null)
  const wayOut = useRef<HTMLButtonElement>(null)
  const leave = useCallback(() => wayOut.current?.focus(), [])
  const serving = isServing(instance)
  const connection = useConnection()
  const onScreen = useCallback((terminal: Terminal, has: boolean) => {
    screen.current = terminal
    setHasSelection(has)
  }, [])

  // A terminal that was lost with the server or the VM opens again when both are there.
  const isLost = state.kind === 'over' && state.end.kind === 'broken'
  useEffect(() => {
    if (!isLost || !serving || connection !== 'live') return
    const timer = window.setTimeout(() => setAttempt(count => count + 1), REOPEN_MS)
    return () => window.clearTimeout(timer)
  }, [isLost, serving, connection])

  const copy = () => {
    if (screen.current === null) return
    copySelection(screen.current).then(
      () => tellDone('Copied'),
      (error: unknown) => tellError('It was not copied', error),
    )
  }

  if (!serving && state.kind !== 'open' && !isLost) {
    const isAsleep = instance.phase === 'standby'
    return (
      <div className="panel">
        <EmptyState icon={isAsleep ? Moon : SquareTerminal} title={isAsleep ? 'It sleeps' : 'No VM runs'} command={`berth ${isAsleep ? 'restore' : 'start'} ${instance.name}`}>
          {isAsleep ? 'Restore it to open a terminal; its processes go on where they were.' : `The instance is ${instance.phase}; a terminal needs it running.`}
        </EmptyState>
      </div>
    )
  }
  return (
    <>
      <Group justify="space-between" mb="xs" gap="sm">
        <Text size="sm" c="dimmed" role="status">
          {tellState(state, instance, attempt)}
        </Text>
        <Group gap="xs">
          <Button variant="default" leftSection={<Copy size={14} />} disabled={!hasSelection} title="Ctrl-Shift-C" onClick={copy}>
            Copy
          </Button>
          <Select aria-label="Shell" size="xs" w={130} data={SHELLS} value={shell} onChange={value => setShell(value ?? 'auto')} allowDeselect={false} />
          <Button ref={wayOut} variant="default" leftSection={<RotateCw size={14} />} disabled={!serving} onClick={() => setAttempt(attempt + 1)}>
            {state.kind === 'over' ? 'Open again' : 'Restart shell'}
          </Button>
        </Group>
      </Group>
      <TerminalBox id={instance.id} command={shell === 'auto' ? BEST_SHELL : [shell, '-l']} shell={attempt} onState={setState} onScreen={onScreen} onLeave={leave} />
      <Text size="xs" c="dimmed" mt={6}>
        Ctrl-Shift-C copies what is selected, Ctrl-Shift-V pastes, Ctrl-Shift-↑ leaves the terminal. On the command line: <span className="mono">berth exec -it {instance.name} -- sh</span>
      </Text>
    </>
  )
}

function tellState(state: TerminalState, instance: Instance, attempt: number): string {
  if (state.kind === 'opening') return 'Opening…'
  if (state.kind === 'open') return attempt === 0 ? 'Connected' : 'Connected to a new shell'
  const { end } = state
  if (end.kind === 'exit') return `The shell ended with status ${end.code}.`
  if (end.kind === 'refused') return end.message
  return isServing(instance) ? 'The connection broke; the shell was ended.' : `The VM is gone (${instance.phase}); the shell went with it. It opens again when the instance runs.`
}
