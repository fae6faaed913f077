/** Everything that happened to the instance, newest first. */
import type { InstanceDetail } from '../../api/types.ts'
import { formatClock, formatSpan, formatTime } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { PhaseBadge } from '../../components/phase.tsx'

export function EventsTab({ instance }: { readonly instance: InstanceDetail }) {
  const { timeline } = instance
  const rows = timeline
    .map((event, index) => {
      const next = timeline.slice(index + 1).find(({ kind }) => kind === 'phase')
      return { event, ms: event.kind === 'phase' && next !== undefined ? Date.parse(next.at) - Date.parse(event.at) : null }
    })
    .toReversed()
  return (
    <Panel title="Events" note={`${timeline.length} in all`}>
      <div className="table-scroll">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Phase</th>
              <th scope="col">For</th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ event, ms }) => (
              <tr key={event.seq}>
                <td className="numeric" title={formatTime(event.at)} style={{ whiteSpace: 'nowrap' }}>
                  {formatClock(event.at)}
                </td>
                <td>{event.kind === 'phase' ? <PhaseBadge phase={event.to} /> : 'note'}</td>
                <td className="numeric" style={{ whiteSpace: 'nowrap' }}>
                  {ms === null ? '' : formatSpan(ms)}
                </td>
                <td>{event.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  )
}
