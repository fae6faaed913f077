/** What the instance is: how it came up, its facts, its ids in every spelling, and how to reach it. */
import { SimpleGrid, Stack, Text } from '@mantine/core'
import type { InstanceDetail } from '../../api/types.ts'
import { CopyText } from '../../components/copy-text.tsx'
import { formatBytes, formatSpan, formatTime, shortImage } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { Facts } from '../../components/facts.tsx'
import { Link } from '../../components/link.tsx'
import { Status } from '../../components/phase.tsx'
import type { Tone } from '../../components/phase.tsx'
import { tellCheck } from '../launch/health.ts'
import { CostPanel } from './cost-panel.tsx'
import { PortsPanel } from './ports-panel.tsx'
import { TimelinePanel } from './timeline-panel.tsx'

export function OverviewTab({ instance }: { readonly instance: InstanceDetail }) {
  const { ids, network, env, tags, exit } = instance
  return (
    <Stack gap="md">
      <TimelinePanel instance={instance} />
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        <Panel title="Instance">
          <Facts
            facts={[
              ['Image', <CopyText key="image" text={shortImage(instance.image)} label="Copy the image's name" />],
              ['Size', `${instance.vcpus} vCPU, ${formatBytes(instance.memoryBytes)} memory, ${formatBytes(instance.overlayBytes)} disk`],
              ['Address', network.ip === null ? 'none' : <CopyText key="ip" text={network.ip} label="Copy the address" />],
              ['Command', commandOf(instance)],
              ['User', instance.user],
              ['Directory', instance.workingDir],
              ['Host', instance.hostId],
              ['Restart', instance.restart.policy === 'never' ? 'never' : `${instance.restart.policy} (${instance.restart.attempts} so far)`],
              ['After the machine’s restart', instance.afterHostRestart === 'restart' ? 'started anew' : 'stopped'],
              ['Without use', instance.idleAfterMs === null ? 'runs on' : `in standby after ${formatSpan(instance.idleAfterMs)}; a command or a connection wakes it`],
              ['Without a connection', instance.autoStandby?.enabled !== true ? null : `in standby after ${formatSpan(instance.autoStandby.idleAfterMs)}${ignoredBy(instance.autoStandby)}`],
              ['Health', <Health key="health" health={instance.health} checks={instance.healthChecks} />],
              ['Secrets', instance.secrets.length === 0 ? null : <Link key="secrets" inText to="/ui/secrets">{instance.secrets.join(', ')}</Link>],
              ['SSH', instance.sshKeys.length === 0 ? null : <CopyText key="ssh" text={`berth ssh ${instance.name}`} label="Copy the command" />],
              ['Last exit', exit === null ? null : exit.message],
              ['Made', `${formatTime(instance.createdAt)} through ${instance.origin}`],
              ['Expires', instance.expiresAt === null ? null : formatTime(instance.expiresAt)],
            ]}
          />
        </Panel>
        <Stack gap="md">
          <Panel title="Ids" note="one instance, four spellings">
            <Facts
              facts={[
                ['Koyeb, native', <CopyText key="koyeb" text={ids.koyeb} label="Copy the Koyeb id" />],
                ['Hypeman', <CopyText key="hypeman" text={ids.hypeman} label="Copy the Hypeman id" />],
                ['Lambda', <CopyText key="lambda" text={ids.lambda} label="Copy the Lambda id" />],
                ['Mithril', <CopyText key="mithril" text={ids.mithril} label="Copy the Mithril id" />],
              ]}
            />
          </Panel>
          <PortsPanel instance={instance} />
          <CostPanel instance={instance} />
          <PairsPanel title="Environment" pairs={env} />
          <PairsPanel title="Tags" pairs={tags} />
        </Stack>
      </SimpleGrid>
    </Stack>
  )
}

function PairsPanel({ title, pairs }: { readonly title: string; readonly pairs: Readonly<Record<string, string>> }) {
  const entries = Object.entries(pairs)
  if (entries.length === 0) return null
  return (
    <Panel title={title}>
      <Facts facts={entries.map(([name, value]) => [name, <span key={name} className="mono">{value}</span>])} />
    </Panel>
  )
}

const HEALTH_TONES: Readonly<Record<NonNullable<InstanceDetail['health']>['status'], Tone>> = { starting: 'busy', healthy: 'good', unhealthy: 'bad', unknown: 'off' }

function Health({ health, checks }: Pick<InstanceDetail, 'health'> & { readonly checks: InstanceDetail['healthChecks'] }) {
  if (checks.length === 0) return 'not checked'
  const notes = [...(health === null || health.message === null ? [] : [health.message]), ...checks.map(tellCheck)]
  return (
    <>
      {health === null ? 'not checked now' : <Status tone={HEALTH_TONES[health.status]} word={health.status} />} {health !== null && `since ${formatTime(health.since)}`}
      {notes.map((note, index) => (
        <Text key={index} size="xs" c="dimmed">
          {note}
        </Text>
      ))}
    </>
  )
}

function ignoredBy({ ignoreSources, ignorePorts }: NonNullable<InstanceDetail['autoStandby']>): string {
  const ignored = [...ignoreSources, ...ignorePorts.map(port => `port ${port}`)]
  return ignored.length === 0 ? '' : `; ${ignored.join(', ')} ${ignored.length === 1 ? 'does' : 'do'} not count`
}

function commandOf({ entrypoint, cmd }: InstanceDetail) {
  if (entrypoint === null && cmd === null) return "the image's own"
  return <span className="mono">{[...(entrypoint ?? []), ...(cmd ?? [])].join(' ')}</span>
}
