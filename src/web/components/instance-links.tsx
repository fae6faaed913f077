/** Instances by their names, each a link to its page. */
import { Text } from '@mantine/core'
import { useFleet } from '../live/use-fleet.ts'
import { shortId } from './format.ts'
import { Link } from './link.tsx'

export function InstanceLinks({ ids, tab, none = 'none' }: { readonly ids: readonly string[]; readonly tab?: string; readonly none?: string }) {
  const { byId } = useFleet()
  if (ids.length === 0) {
    return (
      <Text size="sm" c="dimmed" span>
        {none}
      </Text>
    )
  }
  return ids.map((id, index) => (
    <span key={id}>
      {index > 0 && ', '}
      <Link inText to={`/ui/instances/${id}${tab === undefined ? '' : `/${tab}`}`}>
        {byId.get(id)?.name ?? shortId(id)}
      </Link>
    </span>
  ))
}
