/** Firewalls: the rules that all of them have, and rulesets that are given to instances. */
import { Button, Group, Stack, Text, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { BrickWall, Pencil, Plus } from 'lucide-react'
import { useCallback, useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Firewall, FirewallRule, GlobalRules } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { InstanceLinks } from '../../components/instance-links.tsx'
import { useMay } from '../../components/me.tsx'
import { NameCell } from '../../components/name-cell.tsx'
import { tellDone } from '../../components/notice.tsx'
import { Page, Panel } from '../../components/page.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState, ErrorState, LoadingRows } from '../../components/states.tsx'
import { useEvents } from '../../live/use-fleet.ts'
import { RuleFields } from './rule-fields.tsx'
import { RuleList } from './rule-list.tsx'
import { draftOf, FIRST_RULE, portsProblem, requestOfRule } from './rules.ts'
import type { RuleDraft } from './rules.ts'

type Edited = { readonly what: 'new' } | { readonly what: 'global'; readonly rules: readonly FirewallRule[] } | { readonly what: 'ruleset'; readonly ruleset: Firewall }

export function FirewallsPage() {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const [edited, setEdited] = useState<Edited | null>(null)
  const rulesets = useQuery({ queryKey: ['firewalls', 'rulesets'], queryFn: ({ signal }) => listAll<Firewall>('/firewalls', { signal }) })
  const global = useQuery({ queryKey: ['firewalls', 'global'], queryFn: ({ signal }) => call<GlobalRules>('GET', '/firewall-rules', { signal }) })
  const again = useCallback(() => queries.invalidateQueries({ queryKey: ['firewalls'] }), [queries])
  // Who has which changes with the instances.
  useEvents(useCallback(() => void again(), [again]))
  const makeButton = mayWrite && (
    <Button leftSection={<Plus size={14} />} onClick={() => setEdited({ what: 'new' })}>
      Make a ruleset
    </Button>
  )
  return (
    <Page title="Firewalls" note="What may reach an instance that has one; answers to what it asked always may." actions={makeButton}>
      <Stack gap="md">
        <Panel
          title="Every firewall"
          note="lets this in, whatever else an instance has"
          actions={
            mayWrite &&
            global.data !== undefined && (
              <Button variant="default" leftSection={<Pencil size={13} />} onClick={() => setEdited({ what: 'global', rules: global.data.rules })}>
                Change
              </Button>
            )
          }
        >
          {global.data !== undefined ? (
            <div style={{ padding: '12px 14px' }}>
              <RuleList rules={global.data.rules} />
            </div>
          ) : global.error === null ? (
            <LoadingRows rows={2} />
          ) : (
            <ErrorState error={global.error} onRetry={() => void global.refetch()} />
          )}
        </Panel>
        <Panel title="Rulesets">
          <DataTable
            label="Firewall rulesets"
            items={rulesets.data}
            error={rulesets.error}
            onRetry={() => void rulesets.refetch()}
            keyOf={({ id }) => id}
            empty={
              <EmptyState icon={BrickWall} title="No rulesets yet" action={makeButton} command="berth firewall create web --rule tcp:80">
                A ruleset opens ports for the instances that have it. An instance without any firewall is reached by everybody who can reach its address.
              </EmptyState>
            }
            fields={[
              { name: 'Name', cell: ({ id, name }) => <NameCell id={id} name={name} /> },
              { name: 'Lets in', cell: ({ rules }) => <RuleList rules={rules} /> },
              { name: 'Instances', cell: ({ instanceIds }) => <InstanceLinks ids={instanceIds} tab="network" /> },
              {
                name: 'Actions',
                quiet: true,
                right: true,
                cell: ruleset =>
                  mayWrite && (
                    <Group gap={4} justify="flex-end" wrap="nowrap">
                      <Button size="compact-xs" variant="default" aria-label={`Change ${ruleset.name}`} onClick={() => setEdited({ what: 'ruleset', ruleset })}>
                        Change
                      </Button>
                      <RemoveButton what={ruleset.name} onRemove={() => call('DELETE', `/firewalls/${part(ruleset.id)}`).then(again)}>
                        While an instance has it, it can’t be deleted.
                      </RemoveButton>
                    </Group>
                  ),
              },
            ]}
          />
        </Panel>
      </Stack>
      {edited !== null && <RulesForm edited={edited} onClose={() => setEdited(null)} onDone={again} />}
    </Page>
  )
}

function RulesForm({ edited, onClose, onDone }: { readonly edited: Edited; readonly onClose: () => void; readonly onDone: () => Promise<void> }) {
  const [name, setName] = useState(edited.what === 'ruleset' ? edited.ruleset.name : '')
  const [rules, setRules] = useState<readonly RuleDraft[]>(() => {
    const known = edited.what === 'ruleset' ? edited.ruleset.rules : edited.what === 'global' ? edited.rules : null
    return known === null ? [FIRST_RULE] : known.map(draftOf)
  })
  const isNamed = edited.what !== 'global'
  const submit = async () => {
    const json = { ...(isNamed ? { name: name.trim() } : {}), rules: rules.map(requestOfRule) }
    if (edited.what === 'new') await call('POST', '/firewalls', { json })
    else if (edited.what === 'global') await call('PUT', '/firewall-rules', { json })
    else await call('PATCH', `/firewalls/${part(edited.ruleset.id)}`, { json })
    if (edited.what !== 'new') tellDone('The new rules are in force')
    await onDone()
  }
  const title = edited.what === 'new' ? 'Make a ruleset' : edited.what === 'global' ? 'What every firewall lets in' : `Change ${edited.ruleset.name}`
  const isWrong = rules.some(rule => portsProblem(rule) !== null) || (isNamed && name.trim() === '')
  return (
    <FormModal title={title} action={edited.what === 'new' ? 'Make' : 'Change'} disabled={isWrong} onClose={onClose} onSubmit={submit} size="xl">
      {isNamed && <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} maw={320} />}
      <Text size="sm" c="dimmed">
        {edited.what === 'global' ? 'For every instance that has a firewall.' : 'For the instances that have this ruleset, beside what every firewall lets in.'} Connections that stand go on.
      </Text>
      <RuleFields rules={rules} onChange={setRules} />
    </FormModal>
  )
}
