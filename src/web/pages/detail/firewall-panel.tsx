/** The firewall of the instance: whether it has one, its rulesets, and what they let in together. */
import { Button, Group, Select, Stack, Text } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { BrickWall, Plus, X } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Firewall, GlobalRules, Instance } from '../../api/types.ts'
import { Confirm } from '../../components/confirm.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { Link } from '../../components/link.tsx'
import { useMay } from '../../components/me.tsx'
import { tellDone, tellError } from '../../components/notice.tsx'
import { Panel } from '../../components/page.tsx'
import { EmptyState, ErrorState, LoadingRows } from '../../components/states.tsx'
import { learn } from '../../live/fleet.ts'
import { RuleList } from '../firewalls/rule-list.tsx'

export function FirewallPanel({ instance }: { readonly instance: Instance }) {
  const mayWrite = useMay('write')
  const queries = useQueryClient()
  const [attaches, setAttaches] = useState(false)
  const [asksAway, setAsksAway] = useState(false)
  const rulesets = useQuery({ queryKey: ['firewalls', 'rulesets'], queryFn: ({ signal }) => listAll<Firewall>('/firewalls', { signal }) })
  const global = useQuery({ queryKey: ['firewalls', 'global'], queryFn: ({ signal }) => call<GlobalRules>('GET', '/firewall-rules', { signal }) })
  const { firewallRulesets: has } = instance
  const path = `/instances/${part(instance.id)}/firewalls`

  const change = async (method: string, at: string, json?: object) => {
    learn(await call<Instance>(method, at, json === undefined ? {} : { json }))
    await queries.invalidateQueries({ queryKey: ['firewalls'] })
    await queries.invalidateQueries({ queryKey: ['instance', instance.id] })
  }
  const detach = async (ruleset: Firewall) => {
    try {
      await change('DELETE', `${path}/${part(ruleset.id)}`)
      tellDone(`${ruleset.name} is detached`)
    } catch (error) {
      tellError('The ruleset was not detached', error)
    }
  }
  const error = rulesets.error ?? global.error
  const mine = (rulesets.data ?? []).filter(({ id }) => has?.includes(id) === true)
  const free = (rulesets.data ?? []).filter(({ id }) => has?.includes(id) !== true)

  return (
    <Panel
      title="Firewall"
      actions={
        mayWrite && (
          <>
            {has !== null && (
              <Button variant="subtle" color="red" onClick={() => setAsksAway(true)}>
                Take away
              </Button>
            )}
            <Button variant="default" leftSection={<Plus size={14} />} disabled={rulesets.data === undefined} onClick={() => setAttaches(true)}>
              {has === null ? 'Give it one' : 'Attach'}
            </Button>
          </>
        )
      }
    >
      {has === null ? (
        <EmptyState icon={BrickWall} title="It has no firewall" command={`berth firewall attach ${instance.name}`}>
          Everybody who can reach its address, or a port that is published for it, reaches whatever listens there.
        </EmptyState>
      ) : rulesets.data === undefined || global.data === undefined ? (
        error === null ? <LoadingRows rows={3} /> : <ErrorState error={error} onRetry={() => void Promise.all([rulesets.refetch(), global.refetch()])} />
      ) : (
        <Stack gap="md" p="md">
          <div>
            <Text size="xs" c="dimmed" mb={3}>
              As <Link inText to="/ui/firewalls">every firewall</Link>
            </Text>
            <RuleList rules={global.data.rules} />
          </div>
          {mine.map(ruleset => (
            <div key={ruleset.id}>
              <Group gap={6} mb={3}>
                <Text size="xs" c="dimmed">
                  By <Link inText to="/ui/firewalls">{ruleset.name}</Link>
                </Text>
                {mayWrite && (
                  <Button size="compact-xs" variant="subtle" color="red" leftSection={<X size={12} />} aria-label={`Detach ${ruleset.name}`} onClick={() => void detach(ruleset)}>
                    Detach
                  </Button>
                )}
              </Group>
              <RuleList rules={ruleset.rules} />
            </div>
          ))}
        </Stack>
      )}
      {attaches && <AttachForm isFirst={has === null} free={free} onClose={() => setAttaches(false)} onAttach={id => (id === null ? change('PUT', path, { firewalls: [] }) : change('POST', path, { firewall: id }))} />}
      <Confirm opened={asksAway} title="Take the firewall away?" action="Take away" onClose={() => setAsksAway(false)} onConfirm={() => change('PUT', path, { firewalls: null })}>
        From then on everybody who can reach its address reaches whatever listens there.
      </Confirm>
    </Panel>
  )
}

interface AttachProps {
  readonly isFirst: boolean
  readonly free: readonly Firewall[]
  readonly onClose: () => void
  /** null: a firewall without rulesets. */
  readonly onAttach: (id: string | null) => Promise<void>
}

function AttachForm({ isFirst, free, onClose, onAttach }: AttachProps) {
  const [chosen, setChosen] = useState<string | null>(null)
  return (
    <FormModal title={isFirst ? 'Give it a firewall' : 'Attach a ruleset'} action={isFirst ? 'Give' : 'Attach'} disabled={!isFirst && chosen === null} onClose={onClose} onSubmit={() => onAttach(chosen)}>
      {isFirst && (
        <Text size="sm" c="dimmed">
          From then on only what every firewall and its rulesets let in reaches it.
        </Text>
      )}
      <Select
        label="Ruleset"
        description={isFirst ? 'None: only what every firewall lets in.' : undefined}
        placeholder={free.length === 0 ? 'There is no other' : 'Choose one'}
        data={free.map(({ id, name }) => ({ value: id, label: name }))}
        value={chosen}
        onChange={setChosen}
        clearable={isFirst}
      />
    </FormModal>
  )
}
