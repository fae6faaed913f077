/** What can be done to all selected instances at once, after a question. */
import { Button, Group, Text } from '@mantine/core'
import { useState } from 'react'
import { actOnMany, mayDo, OPERATION_NAMES } from '../../api/lifecycle.ts'
import type { Operation } from '../../api/lifecycle.ts'
import type { Instance } from '../../api/types.ts'
import { Confirm } from '../../components/confirm.tsx'
import { tellDone, tellError } from '../../components/notice.tsx'

const OPERATIONS: readonly Operation[] = ['start', 'stop', 'standby', 'restore', 'delete']
const NAMES_SHOWN = 8

const CONSEQUENCES: Readonly<Record<Operation, string>> = {
  start: 'They boot again with the disks that they had.',
  stop: 'Their applications get SIGTERM, then SIGKILL. Their disks stay.',
  restart: 'They are stopped and started again.',
  standby: 'Memory and devices are saved and the VMs end. Restore continues the same processes.',
  restore: 'They go on where they were.',
  delete: 'Their disks are gone for good. Volumes stay.',
}

interface BulkProps {
  readonly selected: readonly Instance[]
  readonly onDone: () => void
}

export function BulkActions({ selected, onDone }: BulkProps) {
  const [asked, setAsked] = useState<Operation | null>(null)
  const fitting = asked === null ? [] : selected.filter(instance => mayDo(asked, instance))

  const run = async () => {
    if (asked === null) return
    const refused = await actOnMany(asked, fitting.map(({ id }) => id))
    const done = fitting.length - refused.size
    if (done > 0) tellDone(`${OPERATION_NAMES[asked]} asked for ${count(done)}.`)
    const [first] = refused.values()
    if (refused.size > 0) tellError(`${count(refused.size)} refused`, first)
    onDone()
  }

  return (
    <>
      <Text size="sm" fw={560} aria-live="polite">
        {selected.length} selected
      </Text>
      {OPERATIONS.map(operation => (
        <Button
          key={operation}
          variant={operation === 'delete' ? 'light' : 'default'}
          color={operation === 'delete' ? 'red' : 'harbour'}
          disabled={!selected.some(instance => mayDo(operation, instance))}
          onClick={() => setAsked(operation)}
        >
          {OPERATION_NAMES[operation]}
        </Button>
      ))}
      <Confirm
        opened={asked !== null}
        title={asked === null ? '' : `${OPERATION_NAMES[asked]} ${count(fitting.length)}?`}
        action={asked === null ? '' : OPERATION_NAMES[asked]}
        danger={asked === 'delete' || asked === 'stop'}
        onClose={() => setAsked(null)}
        onConfirm={run}
      >
        {asked !== null && CONSEQUENCES[asked]}
        {fitting.length < selected.length && ` ${selected.length - fitting.length} of the selected are in a state that does not allow it, and are left alone.`}
        <Group gap={6} mt="sm">
          {fitting.slice(0, NAMES_SHOWN).map(({ id, name }) => (
            <span key={id} className="mono">
              {name}
            </span>
          ))}
          {fitting.length > NAMES_SHOWN && <span>and {fitting.length - NAMES_SHOWN} more</span>}
        </Group>
      </Confirm>
    </>
  )
}

function count(number: number): string {
  return number === 1 ? '1 instance' : `${number} instances`
}
