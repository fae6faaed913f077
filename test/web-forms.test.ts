/** What one does in the forms and tables of the dashboard, on a simulated host: each is seen on the page, and in the API. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Browser, Page, Request } from 'playwright-core'
import { checkAccess, openBrowser, signIn, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

interface Told {
  readonly id: string
  readonly name: string
  readonly phase: string
  readonly vcpus: number
  readonly memoryBytes: number
  readonly env: Readonly<Record<string, string>>
  readonly secrets: readonly string[]
  readonly idleAfterMs: number | null
  readonly autoStandby: object | null
  readonly healthChecks: readonly { readonly tcp: { readonly port: number } | null; readonly http: object | null; readonly intervalMs: number; readonly unhealthyAfter: number }[]
  readonly restart: { readonly policy: string }
  readonly fileSystems: readonly unknown[]
  readonly firewallRulesets: readonly string[] | null
}

let server: TestServer
let browser: Browser
let seen: Visit
let page: Page
let id = ''

const dialog = () => page.getByRole('dialog')

async function ask<T>(method: string, path: string, body?: object): Promise<T> {
  const answer = await server.request(method, `${PREFIX}${path}`, body === undefined ? {} : { body })
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.text}`)
  return answer.body as T
}
const told = (name: string) => ask<Told>('GET', `/instances/${name}`)
const launch = (name: string, more: object = {}) => ask<Told>('POST', '/instances?wait=running', { name, image: 'localhost/busybox', pull: 'missing', memoryBytes: 128 * 2 ** 20, ...more })

before(async () => {
  server = await startServer()
  browser = await openBrowser()
  await ask('POST', '/file-systems', { name: 'models', sizeBytes: 64 * 2 ** 20 })
  await ask('POST', '/firewalls', { name: 'http', rules: [{ protocol: 'tcp', ports: [80, 80], source: '10.0.0.0/8', description: 'web' }] })
  await ask('POST', '/volumes', { name: 'data', sizeBytes: 64 * 2 ** 20 })
  const made = await launch('web', { fileSystems: [{ fileSystem: 'models', path: '/srv/models' }], firewalls: ['http'], network: { ports: [{ hostPort: 18767, guestPort: 80 }] } })
  id = made.id
  seen = await visit(browser, server.url)
  page = seen.page
  await page.goto('/')
  await signIn(page, server.key)
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

test('a ruleset is made, attached to an instance, changed, and its rules stand on the instance’s page', async () => {
  await page.goto('/ui/firewalls')
  await page.getByRole('button', { name: 'Make a ruleset' }).first().click()
  await dialog().getByLabel('Name').fill('db')
  await dialog().getByLabel('Ports').fill('5432-')
  assert.ok(await dialog().getByRole('button', { name: 'Make' }).isDisabled())
  await dialog().getByLabel('Ports').fill('5432-5440')
  await dialog().getByRole('button', { name: 'Make' }).click()
  await page.getByText('TCP 5432-5440 from anywhere').waitFor()
  await page.goto(`/ui/instances/${id}/network`)
  await page.getByRole('button', { name: 'Attach' }).click()
  await dialog().getByRole('combobox', { name: 'Ruleset' }).click()
  await page.getByRole('option', { name: 'db' }).click()
  await dialog().getByRole('button', { name: 'Attach' }).click()
  await page.getByText('TCP 5432-5440 from anywhere').waitFor()
  await page.getByRole('button', { name: 'Detach db' }).click()
  await page.getByText('TCP 5432-5440 from anywhere').waitFor({ state: 'detached' })
  await page.getByText('TCP 80 from 10.0.0.0/8').waitFor()
  seen.check()
})

test('a port is published, and a file system unmounted and mounted again, while the instance runs', async () => {
  await page.goto(`/ui/instances/${id}/network`)
  await page.getByRole('button', { name: 'Change' }).click()
  await dialog().getByRole('button', { name: 'Add a port' }).click()
  await dialog().getByLabel('Port of the host').nth(1).fill('18777')
  await dialog().getByRole('button', { name: 'Publish' }).click()
  await page.getByRole('link', { name: /:18777$/ }).waitFor()
  await page.goto(`/ui/instances/${id}/volumes`)
  await page.getByRole('button', { name: 'Unmount' }).click()
  await dialog().getByRole('button', { name: 'Unmount' }).click()
  await page.getByText('No file system is mounted').waitFor()
  await page.getByRole('button', { name: 'Mount', exact: true }).click()
  await dialog().getByRole('combobox', { name: 'File system' }).click()
  await page.getByRole('option', { name: /^models/ }).click()
  await dialog().getByLabel('Path in the guest').fill('/srv/models')
  await dialog().getByRole('button', { name: 'Mount' }).click()
  await page.getByRole('cell', { name: '/srv/models' }).waitFor()
  await page.goto('/ui/file-systems')
  await page.getByRole('button', { name: 'Enlarge models' }).click()
  await dialog().getByRole('button', { name: 'Enlarge' }).click()
  await page.getByText(/of 128 MB/).waitFor()
  seen.check()
})

test('the launch form gives file systems and a firewall, and says the same on the command line', async () => {
  await page.goto('/ui/launch')
  await page.getByLabel('Name', { exact: true }).fill('shared')
  await page.getByRole('button', { name: 'Shared file systems' }).click()
  await page.getByRole('button', { name: 'Add a file system' }).click()
  await page.getByRole('button', { name: 'Firewall' }).click()
  await page.getByRole('switch', { name: 'Only what is let in' }).check()
  await page.getByRole('combobox', { name: 'Rulesets' }).click()
  await page.getByRole('option', { name: 'http' }).click()
  await page.keyboard.press('Escape')
  await page.getByText(/--fs models:\/srv\/shared[\s\S]*--firewall http/).waitFor()
  await page.getByRole('main').getByRole('button', { name: 'Launch' }).click()
  await page.waitForURL('**/ui/instances/*')
  const { body } = await server.request('GET', `${PREFIX}/instances?name=shared`)
  const { items } = body as { readonly items: readonly { readonly fileSystems: unknown[]; readonly firewallRulesets: unknown[] }[] }
  assert.deepEqual([items[0]?.fileSystems.length, items[0]?.firewallRulesets.length], [1, 1])
  seen.check()
})

test('a reservation is quoted, placed, paused and told; a bid’s limit is changed', async () => {
  await page.goto('/ui/market')
  await page.getByRole('button', { name: 'Reserve small in simulated' }).click()
  await dialog().getByText(/in all, \$0\.01 an hour/).waitFor()
  await dialog().getByLabel('Name').fill('held')
  await dialog().getByRole('button', { name: 'Reserve' }).click()
  await page.getByText(/held is reserved until/).waitFor()
  await page.getByRole('button', { name: 'Bid for small in simulated' }).click()
  await dialog().getByText(/would win now/).waitFor()
  await dialog().getByLabel('Name').fill('tide')
  await dialog().getByRole('button', { name: 'Place the bid' }).click()
  await page.getByText('tide has its capacity').waitFor()
  await page.getByRole('tab', { name: 'Bids and reservations' }).click()
  await page.getByRole('button', { name: 'Limit: tide' }).click()
  await dialog().getByLabel('At most, in cents').fill('7')
  await dialog().getByRole('button', { name: 'Change' }).click()
  await page.getByRole('cell', { name: '$0.07' }).waitFor()
  await page.getByRole('button', { name: 'Pause: held' }).click()
  await page.getByRole('button', { name: 'Resume: held' }).waitFor()
  await page.getByRole('button', { name: 'Story: held' }).click()
  await dialog().getByRole('cell', { name: 'paused' }).waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Delete tide' }).click()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await page.getByText('No bids').waitFor()
  seen.check()
})

test('the audit trail is filtered by what the address says', async () => {
  await page.goto('/ui/activity/audit')
  await page.getByRole('cell', { name: 'instance.create' }).first().waitFor()
  await page.getByRole('combobox', { name: 'Kind of target' }).click()
  await page.getByRole('option', { name: 'volume' }).click()
  await page.waitForURL('**/ui/activity/audit?kind=volume')
  await page.getByRole('cell', { name: 'instance.create' }).first().waitFor({ state: 'detached' })
  await page.getByRole('cell', { name: 'volume.create' }).waitFor()
  await page.getByLabel('Target', { exact: true }).fill('nobody')
  await page.getByText('Nothing fits the filter').waitFor()
  seen.check()
})

test('what is in the table is sorted by its price, either way', async () => {
  await launch('large', { vcpus: 2, memoryBytes: 2 * 2 ** 30 })
  await page.goto('/')
  await page.getByRole('button', { name: 'Price / h' }).click()
  await page.waitForURL('**/?sort=price')
  const names = async () => (await page.getByRole('row').allInnerTexts()).slice(1).map(text => text.trim().split(/\s/)[0])
  await eventually('the large one is last', async () => ((await names()).at(-1) === 'large' ? true : null))
  await page.getByRole('button', { name: 'Price / h' }).click()
  await page.waitForURL('**/*order=desc')
  await eventually('the large one is first', async () => ((await names())[0] === 'large' ? true : null))
  seen.check()
})

test('an instance is renamed while it runs, and gets another size, variables and a restart policy while it is stopped', async () => {
  const made = await launch('before', { env: { OLD: '1' } })
  await page.goto(`/ui/instances/${made.id}`)
  const open = async () => {
    await page.getByRole('button', { name: 'More' }).click()
    await page.getByRole('menuitem', { name: 'Change…' }).click()
  }
  await open()
  assert.ok(await dialog().getByRole('button', { name: 'Change' }).isDisabled(), 'there is nothing to change yet')
  assert.ok(await dialog().getByLabel('vCPUs').isDisabled())
  await dialog().getByLabel('Name').fill('After')
  await dialog().getByText('Lower-case letters').waitFor()
  await dialog().getByLabel('Name').fill('after')
  await dialog().getByRole('button', { name: 'Change' }).click()
  await page.getByRole('heading', { name: 'after', level: 1 }).waitFor()
  await dialog().waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Stop' }).click()
  await page.getByTestId('phase').getByText('stopped').waitFor()
  await open()
  await dialog().getByLabel('vCPUs').fill('2')
  await dialog().getByLabel('Memory in MB').fill('256')
  await dialog().getByLabel('Environment').fill('NEW=two words')
  await dialog().getByRole('combobox', { name: 'Restart' }).click()
  await page.getByRole('option', { name: 'When it fails' }).click()
  await dialog().getByRole('button', { name: 'Change' }).click()
  await dialog().waitFor({ state: 'detached' })
  await page.getByText('2 vCPU, 256 MB memory').waitFor()
  await page.getByText('two words').waitFor()
  const { name, vcpus, memoryBytes, env, restart } = await told('after')
  assert.deepEqual([name, vcpus, memoryBytes, env, restart.policy], ['after', 2, 256 * 2 ** 20, { NEW: 'two words' }, 'on-failure'])
  seen.check()
})

test('a secret is made, given to an instance, replaced, and deleted; its value is on no page', async () => {
  await page.goto('/ui/secrets')
  await page.getByText('No secrets yet').waitFor()
  await page.getByText('berth secrets set DB_PASSWORD').waitFor()
  await page.getByRole('button', { name: 'Make a secret' }).first().click()
  await dialog().getByLabel('Name').fill('TOKEN')
  await dialog().getByLabel('Value', { exact: true }).fill('hush-1')
  await dialog().getByRole('button', { name: 'Make' }).click()
  await page.getByRole('cell', { name: 'TOKEN', exact: true }).waitFor()
  await page.goto('/ui/launch')
  await page.getByLabel('Name', { exact: true }).fill('keeper')
  await page.getByRole('button', { name: /^Environment/ }).click()
  await page.getByRole('combobox', { name: 'Secrets' }).click()
  await page.getByRole('option', { name: 'TOKEN' }).click()
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: /^Restart and standby/ }).click()
  await page.getByLabel('Standby after minutes without use').fill('5')
  await page.getByText(/--secret TOKEN[\s\S]*--idle-after 5m/).waitFor()
  await page.getByRole('main').getByRole('button', { name: 'Launch' }).click()
  await page.getByText('in standby after 5 min').waitFor()
  await page.getByText('not checked').waitFor()
  const { secrets, idleAfterMs } = await told('keeper')
  assert.deepEqual([secrets, idleAfterMs], [['TOKEN'], 300_000])
  await page.getByRole('main').getByRole('link', { name: 'TOKEN' }).click()
  await page.getByRole('link', { name: 'keeper' }).waitFor()
  await page.getByRole('button', { name: 'New value of TOKEN' }).click()
  await dialog().getByLabel('Value', { exact: true }).fill('hush-2')
  await dialog().getByRole('button', { name: 'Set' }).click()
  await page.getByText('TOKEN has its new value').waitFor()
  await dialog().waitFor({ state: 'detached' })
  assert.ok(!(await page.content()).includes('hush'))
  await ask('DELETE', '/instances/keeper?wait=true')
  await page.getByRole('button', { name: 'Delete TOKEN' }).click()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await page.getByText('No secrets yet').waitFor()
  seen.check()
})

test('an instance of a reservation that is paused is given back for a part of its price', async () => {
  await page.goto('/ui/market')
  await page.getByRole('button', { name: 'Reserve small in simulated' }).click()
  await dialog().getByLabel('Name').fill('crew')
  await dialog().getByLabel('Instances').fill('2')
  await dialog().getByText(/in all, \$0\.01 an hour/).waitFor()
  await dialog().getByRole('button', { name: 'Reserve' }).click()
  await page.getByText(/crew is reserved until/).waitFor()
  await page.getByRole('tab', { name: 'Bids and reservations' }).click()
  await page.getByRole('button', { name: 'Pause: crew' }).click()
  await page.getByRole('button', { name: 'Give back: crew' }).click()
  await dialog().getByRole('checkbox').first().check()
  await dialog().getByRole('button', { name: 'Give back' }).click()
  await page.getByText('One instance is given back').waitFor()
  await eventually('one is left', async () => ((await ask<{ quantity: number }>('GET', '/market/reservations/crew')).quantity === 1 ? true : null))
  await page.getByRole('button', { name: 'Story: crew' }).click()
  await dialog().getByRole('cell', { name: 'returned' }).waitFor()
  await page.keyboard.press('Escape')
  seen.check()
})

test('a bid is placed for two, paused, resumed, and ended together with its instances', async () => {
  await page.goto('/ui/market')
  await page.getByRole('button', { name: 'Bid for small in simulated' }).click()
  await dialog().getByLabel('Name').fill('swarm')
  await dialog().getByLabel('Instances').fill('2')
  await dialog().getByLabel('At most, in cents').fill('9')
  await dialog().getByRole('button', { name: 'Place the bid' }).click()
  await page.getByText('swarm has its capacity').waitFor()
  await page.getByRole('tab', { name: 'Bids and reservations' }).click()
  await page.getByRole('button', { name: 'Pause: swarm' }).click()
  await page.getByRole('button', { name: 'Resume: swarm' }).click()
  await page.getByRole('button', { name: 'Pause: swarm' }).waitFor()
  const { instanceIds, limitMicros } = await ask<{ instanceIds: readonly string[]; limitMicros: number }>('GET', '/market/bids/swarm')
  assert.deepEqual([instanceIds.length, limitMicros], [2, 90_000])
  await page.getByRole('button', { name: 'Delete swarm' }).click()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await page.getByText('No bids').waitFor()
  for (const one of instanceIds) await eventually('its instance is gone', async () => ((await told(one)).phase === 'deleted' ? true : null))
  seen.check()
})

test('a bid that loses says why, and wins once the others are gone', async () => {
  const crowd = { name: 'crowd', type: 'medium', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 8, limitMicros: 50_000 }
  assert.equal((await ask<{ status: string }>('POST', '/market/bids', crowd)).status, 'allocated')
  await page.goto('/ui/market')
  await page.getByRole('button', { name: 'Bid for medium in simulated' }).click()
  await dialog().getByText('$0.06 would win now.').waitFor()
  await dialog().getByLabel('Name').fill('modest')
  await dialog().getByLabel('At most, in cents').fill('3')
  await dialog().getByRole('button', { name: 'Place the bid' }).click()
  await page.getByText('modest competes').waitFor()
  await page.getByRole('tab', { name: 'Bids and reservations' }).click()
  const row = page.getByRole('row', { name: /^modest/ })
  await row.getByText('none of 1').waitFor()
  assert.equal((await ask<{ status: string }>('GET', '/market/bids/modest')).status, 'open')
  await row.getByText(/is outbid: .* it offers \$0\.03/).waitFor()
  await page.getByRole('button', { name: 'Delete crowd' }).click()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await row.getByText('allocated').waitFor()
  await row.getByRole('link', { name: /^modest/ }).waitFor()
  await ask('DELETE', '/market/bids/modest')
  await page.getByText('No bids').waitFor()
  seen.check()
})

test('a reservation that has not begun is canceled, and then stands among those that are over', async () => {
  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
  await ask('POST', '/market/reservations', { name: 'spring', type: 'medium', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 2, startAt: inHours(5), endAt: inHours(9) })
  await page.goto('/ui/market/orders')
  const row = page.getByRole('row', { name: /^spring/ })
  await row.getByText('pending').waitFor()
  await row.getByText('none of 2').waitFor()
  await page.getByRole('button', { name: 'Delete spring' }).click()
  await dialog().getByText('nothing is charged').waitFor()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await row.waitFor({ state: 'detached' })
  await page.getByRole('switch', { name: 'Also those that are over' }).check()
  await row.getByText('canceled').waitFor()
  seen.check()
})

test('health checks, the idle time and automatic standby are given at launch, stand on the page, and are changed there', async () => {
  await page.goto('/ui/launch')
  await page.getByLabel('Name', { exact: true }).fill('watched')
  await page.getByRole('button', { name: /^Health checks/ }).click()
  await page.getByRole('button', { name: 'Add a check' }).click()
  await page.getByLabel('Port of the check').fill('8080')
  await page.getByLabel('Path of the check').fill('/up')
  await page.getByLabel('Every', { exact: true }).fill('30')
  await page.getByRole('button', { name: /^Restart and standby/ }).click()
  await page.getByLabel('Standby after minutes without a connection').fill('30')
  await page.getByRole('combobox', { name: 'Connections that do not count' }).fill('22')
  await page.keyboard.press('Enter')
  await page.getByText(/--health-check http:8080\/up[\s\S]*--health-interval 30s[\s\S]*--auto-standby 30m[\s\S]*--auto-standby-ignore 22/).waitFor()
  await checkAccess(page, 'the launch form with its policies')
  await page.getByRole('main').getByRole('button', { name: 'Launch' }).click()
  await page.getByText('in standby after 30 min; port 22 does not count').waitFor()
  await page.getByText('GET http://…:8080/up, every 30 s; 3 failures are too many').waitFor()
  await page.getByRole('button', { name: 'More' }).click()
  await page.getByRole('menuitem', { name: 'Change…' }).click()
  await dialog().getByLabel('Standby after minutes without use').fill('10')
  await checkAccess(page, 'the settings of an instance')
  await dialog().getByLabel('Standby after minutes without a connection').fill('')
  await dialog().getByRole('combobox', { name: 'What is asked' }).click()
  await page.getByRole('option', { name: 'TCP' }).click()
  await dialog().getByLabel('Port of the check').fill('')
  await dialog().getByText('A check needs its port').waitFor()
  assert.ok(await dialog().getByRole('button', { name: 'Change' }).isDisabled())
  await dialog().getByLabel('Port of the check').fill('9090')
  await dialog().getByLabel('Failures').fill('1')
  await dialog().getByRole('button', { name: 'Change' }).click()
  await dialog().waitFor({ state: 'detached' })
  await page.getByText('in standby after 10 min').waitFor()
  await page.getByText('TCP port 9090, every 30 s; one failure is too many').waitFor()
  const { idleAfterMs, autoStandby, healthChecks } = await told('watched')
  assert.deepEqual([idleAfterMs, autoStandby], [600_000, null])
  assert.deepEqual(healthChecks.map(({ tcp, http, intervalMs, unhealthyAfter }) => [tcp?.port, http, intervalMs, unhealthyAfter]), [[9090, null, 30_000, 1]])
  await ask('DELETE', '/instances/watched?wait=true')
  seen.check()
})

test('a record that arrives late does not undo what has happened since it was written', async () => {
  await launch('late')
  await page.goto('/?q=late')
  const row = page.getByRole('row', { name: /late/ })
  await row.getByText('running').waitFor()
  const [isHeld, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let first: Request | null = null
  const records = /\/instances\?id=/
  await page.route(records, async route => {
    if (first !== null) return route.continue()
    first = route.request()
    const response = await route.fetch()
    isHeld.resolve()
    await release.promise
    return route.fulfill({ response })
  })
  await ask('POST', '/instances/late/standby?wait=true')
  await row.getByText('standby').waitFor()
  await isHeld.promise
  await ask('POST', '/instances/late/restore?wait=true')
  await row.getByText('running').waitFor()
  // It is asked for once more, and not before.
  const next = page.waitForResponse(response => records.test(response.url()) && response.request() !== first)
  release.resolve()
  await next
  await page.unrouteAll({ behavior: 'wait' })
  await row.getByText('running').waitFor()
  assert.equal(await row.getByText('standby').count(), 0)
  await ask('DELETE', '/instances/late?wait=true')
  await page.getByText('Nothing fits the filter').waitFor()
  seen.check()
})
