/** The fields of a launch. What few people need is folded away. */
import { Accordion, Autocomplete, Button, Group, MultiSelect, Select, SimpleGrid, Stack, Text, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Rocket } from 'lucide-react'
import type { FormEvent } from 'react'
import { listAll } from '../../api/http.ts'
import type { Image, Secret, SshKey } from '../../api/types.ts'
import { shortImage } from '../../components/format.ts'
import { useList } from '../../components/use-list.ts'
import { FirewallFields } from './firewall-fields.tsx'
import { HealthFields } from './health-fields.tsx'
import { checkProblem } from './health.ts'
import { ImageState } from './image-state.tsx'
import { PortFields } from './port-fields.tsx'
import { ShareFields } from './share-fields.tsx'
import { SizeFields } from './size-fields.tsx'
import { SleepFields } from './sleep-fields.tsx'
import { VolumeFields } from './volume-fields.tsx'
import type { InstanceType, Wish } from './wish.ts'
import { NAME, RESTARTS } from './words.ts'

interface FormProps {
  readonly wish: Wish
  readonly types: readonly InstanceType[]
  readonly busy: boolean
  readonly onChange: (change: Partial<Wish>) => void
  readonly onLaunch: () => void
}

export function LaunchForm({ wish, types, busy, onChange, onLaunch }: FormProps) {
  const images = useQuery({ queryKey: ['images'], queryFn: ({ signal }) => listAll<Image>('/images', { signal }) })
  const secrets = useList<Secret>('secrets')
  const keys = useQuery({ queryKey: ['ssh-keys'], queryFn: ({ signal }) => listAll<SshKey>('/ssh-keys', { signal }) })
  const names = [...new Set((images.data ?? []).filter(({ status }) => status !== 'failed').map(({ name }) => shortImage(name)))]
  const nameProblem = wish.name === '' || NAME.test(wish.name) ? null : 'Lower-case letters, digits and dashes, at most 63.'

  const isWhole = nameProblem === null && wish.image.trim() !== '' && wish.healthChecks.every(check => checkProblem(check) === null)

  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (isWhole) onLaunch()
  }

  return (
    <form onSubmit={submit}>
      <Stack gap="md" p="md">
        <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md">
          <Autocomplete
            label="Image"
            description="One that is here, or any of a registry."
            data={names}
            value={wish.image}
            onChange={image => onChange({ image })}
            required
            withAsterisk={false}
            spellCheck={false}
          />
          <TextInput
            label="Name"
            description="Empty: one is made."
            value={wish.name}
            onChange={event => onChange({ name: event.currentTarget.value })}
            error={nameProblem}
            spellCheck={false}
          />
        </SimpleGrid>
        <ImageState name={wish.image} known={images.data} />
        <SizeFields wish={wish} types={types} onChange={onChange} />
        <TextInput
          label="Command"
          description="Empty: the image's own. Quote as in a shell."
          placeholder="httpd -f -p 80 -h /www"
          value={wish.command}
          onChange={event => onChange({ command: event.currentTarget.value })}
          styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
          spellCheck={false}
        />
        <Accordion variant="separated" multiple chevronPosition="left" order={2}>
          <Accordion.Item value="env">
            <Accordion.Control>
              <Label text="Environment" note={wish.env.trim() === '' ? null : `${wish.env.trim().split('\n').length} lines`} />
            </Accordion.Control>
            <Accordion.Panel>
              <Stack gap="sm">
                <Textarea
                  aria-label="Environment"
                  placeholder={'GREETING=hello\nLEVEL=debug'}
                  autosize
                  minRows={3}
                  value={wish.env}
                  onChange={event => onChange({ env: event.currentTarget.value })}
                  styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
                  spellCheck={false}
                />
                <MultiSelect
                  label="Secrets"
                  description="It has them as variables of the same names."
                  data={(secrets.items ?? []).map(({ name }) => name)}
                  value={[...wish.secrets]}
                  onChange={names => onChange({ secrets: names })}
                  searchable
                  nothingFoundMessage="The project has none"
                />
              </Stack>
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="ports">
            <Accordion.Control>
              <Label text="Published ports" note={wish.ports.length === 0 ? null : String(wish.ports.length)} />
            </Accordion.Control>
            <Accordion.Panel>
              <PortFields ports={wish.ports} onChange={ports => onChange({ ports })} />
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="volumes">
            <Accordion.Control>
              <Label text="Volumes" note={wish.volumes.length === 0 ? null : String(wish.volumes.length)} />
            </Accordion.Control>
            <Accordion.Panel>
              <VolumeFields volumes={wish.volumes} onChange={volumes => onChange({ volumes })} />
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="file-systems">
            <Accordion.Control>
              <Label text="Shared file systems" note={wish.fileSystems.length === 0 ? null : String(wish.fileSystems.length)} />
            </Accordion.Control>
            <Accordion.Panel>
              <ShareFields shares={wish.fileSystems} onChange={fileSystems => onChange({ fileSystems })} />
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="firewall">
            <Accordion.Control>
              <Label text="Firewall" note={wish.firewalls === null ? null : ['the global rules', ...wish.firewalls].join(', ')} />
            </Accordion.Control>
            <Accordion.Panel>
              <FirewallFields firewalls={wish.firewalls} onChange={firewalls => onChange({ firewalls })} />
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="access">
            <Accordion.Control>
              <Label text="SSH keys and user data" note={wish.sshKeys.length === 0 ? null : wish.sshKeys.join(', ')} />
            </Accordion.Control>
            <Accordion.Panel>
              <Stack gap="sm">
                <MultiSelect
                  label="SSH keys"
                  description="Who may enter it over SSH; with none there is no SSH."
                  data={(keys.data ?? []).map(({ name }) => name)}
                  value={[...wish.sshKeys]}
                  onChange={sshKeys => onChange({ sshKeys })}
                  searchable
                  nothingFoundMessage="The project has none"
                />
                <Textarea
                  label="User data"
                  description="Done once, at the first start: a script or #cloud-config."
                  placeholder={'#!/bin/sh\nuname -a > /root/hello'}
                  autosize
                  minRows={3}
                  value={wish.userData}
                  onChange={event => onChange({ userData: event.currentTarget.value })}
                  styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }}
                  spellCheck={false}
                />
              </Stack>
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="health">
            <Accordion.Control>
              <Label text="Health checks" note={wish.healthChecks.length === 0 ? null : String(wish.healthChecks.length)} />
            </Accordion.Control>
            <Accordion.Panel>
              <HealthFields checks={wish.healthChecks} onChange={healthChecks => onChange({ healthChecks })} />
            </Accordion.Panel>
          </Accordion.Item>
          <Accordion.Item value="restart">
            <Accordion.Control>
              <Label text="Restart and standby" note={restNote(wish)} />
            </Accordion.Control>
            <Accordion.Panel>
              <Stack gap="sm">
                <Select
                  label="Restart"
                  description="When the application has ended by itself."
                  data={RESTARTS}
                  value={wish.restart}
                  onChange={value => onChange({ restart: (value ?? 'never') as Wish['restart'] })}
                  allowDeselect={false}
                />
                <SleepFields sleep={wish} onChange={onChange} />
              </Stack>
            </Accordion.Panel>
          </Accordion.Item>
        </Accordion>
        <Group justify="flex-end">
          <Button type="submit" size="sm" leftSection={<Rocket size={15} />} loading={busy} disabled={!isWhole}>
            Launch
          </Button>
        </Group>
      </Stack>
    </form>
  )
}

function restNote({ restart, idleMinutes, quietMinutes }: Wish): string | null {
  const sleeps = [idleMinutes, quietMinutes].filter(minutes => minutes !== null)
  const words = [...(restart === 'never' ? [] : [RESTARTS.find(({ value }) => value === restart)?.label.toLowerCase() ?? restart]), ...(sleeps.length === 0 ? [] : [`standby after ${Math.min(...sleeps)} min`])]
  return words.length === 0 ? null : words.join(', ')
}

function Label({ text, note }: { readonly text: string; readonly note: string | null }) {
  return (
    <Group gap="sm">
      <Text size="sm" fw={560} span>
        {text}
      </Text>
      {note !== null && (
        <Text size="xs" c="dimmed" span>
          {note}
        </Text>
      )}
    </Group>
  )
}
