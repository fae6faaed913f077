/** What the last ways of the instance took, phase by phase. */
import { Group, Stack, Text } from '@mantine/core'
import type { InstanceDetail } from '../../api/types.ts'
import { formatSpan, formatTime, spanSince } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { PhaseBadge } from '../../components/phase.tsx'
import { useNow } from '../../components/use-now.ts'
import { waysOf } from './timeline.ts'
import type { Way } from './timeline.ts'

const WAYS_SHOWN = 4
const SHADES = ['harbour-8', 'harbour-6', 'harbour-4', 'harbour-3', 'harbour-2']
const NAMES: Readonly<Record<string, string>> = { running: 'Came to run', standby: 'Fell asleep', stopped: 'Stopped', failed: 'Failed', preempted: 'Preempted', lost: 'Lost', unhealthy: 'Unhealthy', deleted: 'Deleted' }

export function TimelinePanel({ instance }: { readonly instance: InstanceDetail }) {
  const ways = waysOf(instance).slice(0, WAYS_SHOWN)
  const now = useNow()
  return (
    <Panel title="Timeline" note={`${instance.phase} for ${spanSince(instance.phaseSince, now)}`}>
      <Stack gap="md" p="md">
        {ways.length === 0 && (
          <Group gap="xs">
            <PhaseBadge phase={instance.phase} />
            <Text size="sm" c="dimmed">
              since {formatTime(instance.phaseSince)}
            </Text>
          </Group>
        )}
        {ways.map(way => (
          <WayBar key={way.to.at} way={way} />
        ))}
      </Stack>
    </Panel>
  )
}

function WayBar({ way }: { readonly way: Way }) {
  const { steps, ms, to } = way
  return (
    <div>
      <Group justify="space-between" mb={5} gap="xs">
        <Text size="sm" fw={560}>
          {steps.some(({ phase }) => phase === 'restoring') ? 'Woke up' : (NAMES[to.phase] ?? to.phase)} in <span className="numeric">{formatSpan(ms)}</span>
        </Text>
        <Text size="xs" c="dimmed">
          {formatTime(to.at)}
        </Text>
      </Group>
      <div className="timeline-bar" aria-hidden>
        {steps.map((step, index) => (
          <div
            key={step.at + step.phase}
            style={{ flexGrow: Math.max(step.ms ?? 0, ms / 200), background: `var(--mantine-color-${SHADES[index % SHADES.length]})` }}
          />
        ))}
      </div>
      <Group gap={14} mt={6}>
        {steps.map((step, index) => (
          <Group key={step.at + step.phase} gap={6} wrap="nowrap">
            <span style={{ width: 8, height: 8, borderRadius: 2, background: `var(--mantine-color-${SHADES[index % SHADES.length]})` }} aria-hidden />
            <Text size="xs">
              {step.phase}{' '}
              <Text span c="dimmed" className="numeric">
                {formatSpan(step.ms ?? 0)}
              </Text>
            </Text>
          </Group>
        ))}
      </Group>
    </div>
  )
}
