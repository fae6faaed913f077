/** Launch: the form at the left, the same in every tongue at the right, and what happens once it is sent. */
import { Grid } from '@mantine/core'
import { useState } from 'react'
import { useLocation } from 'wouter'
import { call } from '../../api/http.ts'
import type { Instance } from '../../api/types.ts'
import { tellError } from '../../components/notice.tsx'
import { Page, Panel } from '../../components/page.tsx'
import { useCatalogue } from '../../components/prices.tsx'
import { learn } from '../../live/fleet.ts'
import { EquivalentsPanel } from './equivalents-panel.tsx'
import { LaunchForm } from './launch-form.tsx'
import { FIRST_WISH, requestOf } from './wish.ts'

export function LaunchPage() {
  const [wish, setWish] = useState(FIRST_WISH)
  const [busy, setBusy] = useState(false)
  const [, navigate] = useLocation()
  const catalogue = useCatalogue()

  const launch = async () => {
    setBusy(true)
    try {
      const made = await call<Instance>('POST', '/instances', { json: requestOf(wish) })
      learn(made)
      navigate(`/ui/instances/${made.id}`)
    } catch (error) {
      tellError('The instance was not launched', error)
    } finally {
      setBusy(false)
    }
  }

  return (
    <Page title="Launch an instance" note="A microVM of its own from an OCI image.">
      <Grid gap="md">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Panel>
            <LaunchForm wish={wish} types={catalogue.data?.types ?? []} busy={busy} onChange={change => setWish({ ...wish, ...change })} onLaunch={() => void launch()} />
          </Panel>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <div className="stays">{catalogue.data !== undefined && <EquivalentsPanel wish={wish} catalogue={catalogue.data} />}</div>
        </Grid.Col>
      </Grid>
    </Page>
  )
}
