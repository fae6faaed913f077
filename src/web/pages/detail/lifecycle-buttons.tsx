/** Start, stop, standby, restore, delete: those that fit the phase. Tells how long the wish took to come true. */
import { Button, Menu } from '@mantine/core'
import { ChevronDown, Moon, Pencil, Play, RotateCw, Square, Sun, Trash2 } from 'lucide-react'
import type { LucideIcon } from 'lucide-react'
import { useState } from 'react'
import { useLocation } from 'wouter'
import { actAndWait, mayDo, OPERATION_NAMES } from '../../api/lifecycle.ts'
import type { Operation } from '../../api/lifecycle.ts'
import type { InstanceDetail, Instance } from '../../api/types.ts'
import { Confirm } from '../../components/confirm.tsx'
import { formatSpan } from '../../components/format.ts'
import { useMay } from '../../components/me.tsx'
import { tellDone, tellError } from '../../components/notice.tsx'
import { learn } from '../../live/fleet.ts'
import { SettingsForm } from './settings-form.tsx'

const ICONS: Readonly<Record<Operation, LucideIcon>> = { start: Play, stop: Square, restart: RotateCw, standby: Moon, restore: Sun, delete: Trash2 }
const DONE: Readonly<Record<Operation, string>> = {
  start: 'started',
  stop: 'stopped',
  restart: 'restarted',
  standby: 'in standby',
  restore: 'restored',
  delete: 'deleted',
}

export function LifecycleButtons({ instance }: { readonly instance: InstanceDetail }) {
  const mayWrite = useMay('write')
  const [, navigate] = useLocation()
  const [busy, setBusy] = useState<Operation | null>(null)
  const [changes, setChanges] = useState(false)
  const [asksDelete, setAsksDelete] = useState(false)
  if (!mayWrite) return null

  const run = async (operation: Operation) => {
    setBusy(operation)
    try {
      const { after, ms } = await timed(operation, instance.id)
      tellDone(`${instance.name} ${DONE[operation]} in ${formatSpan(ms)}`)
      if (operation === 'delete') navigate('/')
      else learn(after)
    } catch (error) {
      tellError(`${OPERATION_NAMES[operation]} did not work`, error)
    } finally {
      setBusy(null)
    }
  }

  const direct: readonly Operation[] = ['start', 'restore', 'standby', 'stop']
  return (
    <>
      {direct.map(operation => {
        if (!mayDo(operation, instance) && busy !== operation) return null
        const Icon = ICONS[operation]
        return (
          <Button key={operation} variant="default" leftSection={<Icon size={14} />} loading={busy === operation} disabled={busy !== null} onClick={() => void run(operation)}>
            {OPERATION_NAMES[operation]}
          </Button>
        )
      })}
      <Menu position="bottom-end" shadow="md">
        <Menu.Target>
          <Button variant="default" rightSection={<ChevronDown size={14} />}>
            More
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<Pencil size={14} />} onClick={() => setChanges(true)}>
            Change…
          </Menu.Item>
          <Menu.Item leftSection={<RotateCw size={14} />} disabled={!mayDo('restart', instance)} onClick={() => void run('restart')}>
            Restart
          </Menu.Item>
          <Menu.Item color="red" leftSection={<Trash2 size={14} />} disabled={!mayDo('delete', instance)} onClick={() => setAsksDelete(true)}>
            Delete…
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {changes && <SettingsForm instance={instance} onClose={() => setChanges(false)} />}
      <Confirm opened={asksDelete} title={`Delete ${instance.name}?`} action="Delete" onClose={() => setAsksDelete(false)} onConfirm={() => run('delete')}>
        Its disk is gone for good. Its volumes stay.
      </Confirm>
    </>
  )
}

async function timed(operation: Operation, id: string): Promise<{ readonly after: Instance; readonly ms: number }> {
  const begun = performance.now()
  const after = await actAndWait(operation, id)
  return { after, ms: performance.now() - begun }
}
