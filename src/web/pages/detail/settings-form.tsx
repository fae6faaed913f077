/** What may change on a living instance: its name, its size while it is stopped, its variables, its standby and health checks, its end. Only what was changed is asked for. */
import { Input, MultiSelect, NumberInput, Select, SimpleGrid, Textarea, TextInput } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import { isServing } from '../../api/lifecycle.ts'
import type { InstanceDetail, Secret } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { localText, timeOf } from '../../components/local-time.ts'
import { tellDone } from '../../components/notice.tsx'
import { useCatalogue } from '../../components/prices.tsx'
import { useList } from '../../components/use-list.ts'
import { learn } from '../../live/fleet.ts'
import { HealthFields } from '../launch/health-fields.tsx'
import { checkDraft, checkProblem, checkRequest } from '../launch/health.ts'
import type { CheckDraft } from '../launch/health.ts'
import { SleepFields } from '../launch/sleep-fields.tsx'
import { autoStandbyOf, idleAfterOf, sleepOf } from '../launch/sleep.ts'
import type { Sleep } from '../launch/sleep.ts'
import { envOf } from '../launch/wish.ts'
import { NAME, RESTARTS } from '../launch/words.ts'
import type { Restart } from '../launch/words.ts'

const MIB = 1024 ** 2

export function SettingsForm({ instance, onClose }: { readonly instance: InstanceDetail; readonly onClose: () => void }) {
  const queries = useQueryClient()
  const catalogue = useCatalogue()
  const secrets = useList<Secret>('secrets')
  const [first] = useState(() => draftOf(instance))
  const [draft, setDraft] = useState(first)
  const change = (next: Partial<Draft>) => setDraft({ ...draft, ...next })
  const isStopped = instance.phase === 'stopped' || instance.phase === 'failed'
  const json = requestOf(first, draft)
  const nameProblem = NAME.test(draft.name) ? null : 'Lower-case letters, digits and dashes, at most 63.'
  const types = (catalogue.data?.types ?? []).filter(({ gpu }) => gpu === null)

  const submit = async () => {
    learn(await call<InstanceDetail>('PATCH', `/instances/${part(instance.id)}`, { json }))
    await queries.invalidateQueries({ queryKey: ['instance', instance.id] })
    const isLater = isServing(instance) && ('env' in json || 'secrets' in json)
    tellDone(isLater ? `${draft.name} is changed; its variables change with its next start` : `${draft.name} is changed`)
  }

  return (
    <FormModal title={`Change ${instance.name}`} action="Change" size="xl" disabled={nameProblem !== null || draft.healthChecks.some(check => checkProblem(check) !== null) || Object.keys(json).length === 0} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" value={draft.name} onChange={event => change({ name: event.currentTarget.value })} error={nameProblem} data-autofocus spellCheck={false} />
      <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="sm">
        <Select
          label="Type"
          description={isStopped ? 'Of the catalogue' : 'Stop it first'}
          placeholder="A size of its own"
          disabled={!isStopped}
          data={types.map(({ id }) => id)}
          value={types.find(({ vcpus, memoryBytes }) => vcpus === draft.vcpus && memoryBytes === draft.memoryBytes)?.id ?? null}
          onChange={id => {
            const type = types.find(each => each.id === id)
            if (type !== undefined) change({ vcpus: type.vcpus, memoryBytes: type.memoryBytes })
          }}
        />
        <NumberInput label="vCPUs" description={isStopped ? 'At its next start' : 'Stop it first'} disabled={!isStopped} min={1} allowDecimal={false} value={draft.vcpus} onChange={value => change({ vcpus: Number(value) })} hideControls />
        <NumberInput label="Memory in MB" description={isStopped ? 'At its next start' : 'Stop it first'} disabled={!isStopped} min={1} allowDecimal={false} value={Math.round(draft.memoryBytes / MIB)} onChange={value => change({ memoryBytes: Number(value) * MIB })} hideControls />
      </SimpleGrid>
      <Textarea
        label="Environment"
        description="NAME=value, one a line; from its next start on."
        autosize
        minRows={2}
        maxRows={10}
        value={draft.env}
        onChange={event => change({ env: event.currentTarget.value })}
        styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
        spellCheck={false}
      />
      <MultiSelect
        label="Secrets"
        description="It has them as variables of the same names, from its next start on."
        data={[...new Set([...(secrets.items ?? []).map(({ name }) => name), ...draft.secrets])]}
        value={[...draft.secrets]}
        onChange={names => change({ secrets: names })}
        searchable
        nothingFoundMessage="The project has none"
      />
      <Textarea label="Tags" description="name=value, one a line." autosize minRows={1} maxRows={6} value={draft.tags} onChange={event => change({ tags: event.currentTarget.value })} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }} spellCheck={false} />
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <Select
          label="Restart"
          description="When the application has ended by itself."
          data={RESTARTS}
          value={draft.restart}
          onChange={value => change({ restart: (value ?? 'never') as Restart })}
          allowDeselect={false}
        />
        <TextInput type="datetime-local" label="Expires" description="Deleted then; empty: never." value={draft.expires} onChange={event => change({ expires: event.currentTarget.value })} />
      </SimpleGrid>
      <SleepFields sleep={draft} onChange={change} />
      <Input.Wrapper label="Health checks" labelElement="div">
        <HealthFields checks={draft.healthChecks} onChange={healthChecks => change({ healthChecks })} />
      </Input.Wrapper>
    </FormModal>
  )
}

interface Draft extends Sleep {
  readonly name: string
  readonly vcpus: number
  readonly memoryBytes: number
  readonly env: string
  readonly secrets: readonly string[]
  readonly tags: string
  readonly restart: Restart
  /** Local time; empty is never. */
  readonly expires: string
  readonly healthChecks: readonly CheckDraft[]
}

function draftOf(instance: InstanceDetail): Draft {
  const { name, vcpus, memoryBytes, env, secrets, tags, restart, expiresAt } = instance
  return { name, vcpus, memoryBytes, env: linesOf(env), secrets, tags: linesOf(tags), restart: restart.policy, expires: expiresAt === null ? '' : localText(new Date(expiresAt)), healthChecks: instance.healthChecks.map(checkDraft), ...sleepOf(instance) }
}

/** What differs, as the API takes it. */
function requestOf(first: Draft, draft: Draft): Record<string, unknown> {
  const has = (...names: readonly (keyof Draft)[]) => names.some(name => JSON.stringify(first[name]) !== JSON.stringify(draft[name]))
  return {
    ...(has('name') ? { name: draft.name } : {}),
    ...(has('vcpus', 'memoryBytes') ? { vcpus: draft.vcpus, memoryBytes: draft.memoryBytes } : {}),
    ...(has('env') ? { env: envOf(draft.env) } : {}),
    ...(has('secrets') ? { secrets: draft.secrets } : {}),
    ...(has('tags') ? { tags: envOf(draft.tags) } : {}),
    ...(has('restart') ? { restart: { policy: draft.restart } } : {}),
    ...(has('idleMinutes') ? { idleAfterMs: idleAfterOf(draft) } : {}),
    ...(has('quietMinutes', 'ignored') ? { autoStandby: autoStandbyOf(draft) } : {}),
    ...(has('healthChecks') ? { healthChecks: draft.healthChecks.map(checkRequest) } : {}),
    ...(has('expires') ? { expiresAt: draft.expires === '' ? null : timeOf(draft.expires) } : {}),
  }
}

function linesOf(pairs: Readonly<Record<string, string>>): string {
  return Object.entries(pairs)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')
}
