/** What of the dashboard is worth a picture: where it is, and when it stands there. */
import type { Page } from 'playwright-core'
import { terminalShows } from '../test/support/browser.ts'

/** Long enough for lines to be seen beside the figures; the plots know what was before. */
const MEASURE_MS = 9_000
/** Of these a picture on a phone is always taken. */
export const ON_PHONES = new Set(['instances', 'launch', 'overview', 'terminal', 'files', 'market'])

export interface Scene {
  readonly name: string
  readonly path: string
  readonly ready: (page: Page) => Promise<void>
  /** Makes good what `ready` has done to the page. */
  readonly after?: (page: Page) => Promise<void>
}

/** Instances that pictures are about, by what they show. */
export interface Furniture {
  readonly web: string
  readonly worker: string
  readonly asleep: string
  readonly failed: string
  /** The key of a project that has nothing. */
  readonly emptyKey: string
}

export function scenes({ web, worker, asleep, failed }: Furniture, theme: string): readonly Scene[] {
  const instance = `/ui/instances/${web}`
  const table = async (page: Page) => page.getByRole('table').first().waitFor()
  const heading = (name: string) => async (page: Page) => page.getByRole('heading', { name, level: 1 }).waitFor()
  return [
    {
      name: 'instances',
      path: '/',
      async ready(page) {
        await page.getByRole('row').nth(1).waitFor()
        await page.waitForTimeout(MEASURE_MS)
      },
    },
    {
      name: 'bulk',
      path: '/?q=shop',
      async ready(page) {
        await page.getByRole('row', { name: /shop-web/ }).waitFor()
        await page.getByLabel('Select all').click()
        await page.getByRole('button', { name: 'Standby' }).click()
        await page.getByText('Standby 2 instances?').waitFor()
      },
    },
    { name: 'launch', path: '/ui/launch', ready: fillLaunch },
    {
      name: 'launch-policies',
      path: '/ui/launch',
      async ready(page) {
        await page.getByRole('button', { name: /^Health checks/ }).click()
        await page.getByRole('button', { name: 'Add a check' }).click()
        await page.getByLabel('Path of the check').fill('/healthz')
        await page.getByRole('button', { name: /^Restart and standby/ }).click()
        await page.getByLabel('Standby after minutes without a connection').fill('30')
        await page.getByRole('main').getByRole('button', { name: 'Launch' }).scrollIntoViewIfNeeded()
      },
    },
    { name: 'overview', path: instance, ready: async page => page.getByText(/Came to run in/).first().waitFor() },
    {
      name: 'settings',
      path: instance,
      async ready(page) {
        await page.getByRole('button', { name: 'More' }).click()
        await page.getByRole('menuitem', { name: 'Change…' }).click()
        await page.getByRole('dialog').getByLabel('Environment').waitFor()
      },
    },
    {
      name: 'terminal',
      path: `${instance}/terminal`,
      async ready(page) {
        await page.getByText('Connected').waitFor()
        await page.keyboard.type('uname -srm; cat /proc/cpuinfo | grep "model name"; df -h /; ls /\n')
        await terminalShows(page, /Filesystem[\s\S]*var/)
      },
    },
    { name: 'logs', path: `${instance}/logs`, ready: async page => page.getByRole('log').waitFor() },
    { name: 'files', path: `${instance}/files?path=/etc`, ready: table },
    {
      name: 'metrics',
      path: `${instance}/metrics`,
      async ready(page) {
        await page.getByRole('img', { name: /CPU over time/ }).waitFor()
      },
    },
    { name: 'instance-volumes', path: `${instance}/volumes`, ready: table },
    { name: 'instance-network', path: `${instance}/network`, ready: async page => page.getByText(/TCP 80 from/).waitFor() },
    { name: 'snapshots', path: `/ui/instances/${worker}/snapshots`, ready: table },
    { name: 'events', path: `${instance}/events`, ready: table },
    { name: 'asleep', path: `/ui/instances/${asleep}/terminal`, ready: async page => page.getByText('It sleeps').waitFor() },
    { name: 'failed', path: `/ui/instances/${failed}`, ready: async page => page.getByText('Its image could not be had').waitFor() },
    { name: 'images', path: '/ui/images', ready: table },
    { name: 'volumes', path: '/ui/volumes', ready: table },
    { name: 'file-systems', path: '/ui/file-systems', ready: heading('File systems') },
    { name: 'firewalls', path: '/ui/firewalls', ready: table },
    {
      name: 'firewall-form',
      path: '/ui/firewalls',
      async ready(page) {
        await page.getByRole('button', { name: 'Change web' }).click()
        await page.getByRole('dialog').getByText('Add a rule').waitFor()
      },
    },
    { name: 'secrets', path: '/ui/secrets', ready: table },
    { name: 'activity', path: '/ui/activity', ready: table },
    { name: 'audit', path: '/ui/activity/audit', ready: table },
    { name: 'host', path: '/ui/host', ready: async page => page.getByText('Templates').waitFor() },
    { name: 'market', path: '/ui/market', ready: table },
    {
      name: 'bid-form',
      path: '/ui/market',
      async ready(page) {
        await page.getByRole('button', { name: 'Bid for small in simulated' }).click()
        await page.getByText(/would win now/).waitFor()
      },
    },
    {
      name: 'reservation-form',
      path: '/ui/market',
      async ready(page) {
        await page.getByRole('button', { name: 'Reserve small in simulated' }).click()
        await page.getByText(/in all, /).waitFor()
      },
    },
    { name: 'bids', path: '/ui/market/orders', ready: table },
    { name: 'prices', path: '/ui/market/prices', ready: async page => page.getByRole('img').nth(1).waitFor() },
    { name: 'costs', path: '/ui/market/costs', ready: table },
    {
      name: 'new-key',
      path: '/ui/keys',
      async ready(page) {
        await page.getByRole('button', { name: 'Make a key' }).click()
        await page.getByRole('dialog').getByLabel('Name').fill(`deploy-${theme}`)
        await page.getByRole('dialog').getByRole('button', { name: 'Make' }).click()
        await page.getByText('told now and never again').waitFor()
        // A picture is no place for a key.
        await page.evaluate(`document.querySelector('[role=dialog] pre').textContent = 'EfpkQSvpMs9kO6hp7luLr3zvyx3nFqp54mEUN3C7suwHPm8e5YFLPBbaNlNWxTln'`)
      },
    },
    { name: 'keys', path: '/ui/keys', ready: async page => page.getByRole('table').nth(1).waitFor() },
    { name: 'projects', path: '/ui/projects', ready: heading('Projects') },
    {
      name: 'server-gone',
      path: instance,
      async ready(page) {
        await page.route('**/events/watch*', route => route.abort())
        await page.reload()
        await page.getByText('The server does not answer').waitFor()
        await page.getByText(/Came to run in/).first().waitFor()
      },
      after: page => page.unrouteAll(),
    },
  ]
}

async function fillLaunch(page: Page): Promise<void> {
  await page.getByLabel('Name', { exact: true }).fill('shop')
  await page.getByRole('textbox', { name: 'Command' }).fill('httpd -f -p 80 -h /www')
  await page.getByRole('button', { name: /Environment/ }).click()
  await page.getByRole('textbox', { name: 'Environment' }).fill('GREETING=hello\nLEVEL=debug')
  await page.getByText('curl', { exact: true }).click()
  await page.evaluate('scrollTo(0, 0)')
}
