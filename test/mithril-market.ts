/**
 * Mithril's market on a simulated host of few slots, and the steps that its tests have alike. Every answer goes past the
 * published contract where that document is at hand.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { parseId } from '../src/instance/ids.ts'
import { bodyOf, judgedMithrilCalls, loadMithrilContract } from './support/mithril.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

export const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzzAnTxl6twSZjHUyzd3YYcldFMZbBEfJXSdMANO4P8 me@home'
export const REGION = 'us-central1-a'
/** A simulated machine has 4096 CPUs; so few may be promised that there are this many slots. */
export const SLOTS = 4
const CPU_RATIO = String(SLOTS / 4096)
export const HOUR_MS = 3_600_000
const CATALOGUE = {
  regions: [
    { id: 'home', description: 'Home', names: { koyeb: 'fra', lambda: 'us-west-1', mithril: REGION } },
    { id: 'far', description: 'Far', names: { koyeb: 'was', lambda: 'us-east-1', mithril: 'us-central2-a' }, simulated: { slotsPerType: 0 } },
  ],
  types: [
    { id: 'slot', description: 'One slot', vcpus: 1, memoryMib: 256, diskGib: 1, priceMicrosPerHour: 1_000_000, names: { mithril: 'cpu.slot' } },
  ],
}

export interface Bid {
  readonly fid: string
  readonly name: string
  readonly status: string
  readonly limit_price: string
  readonly instance_quantity: number
  readonly instance_type: string
  readonly instances: readonly string[]
  readonly deactivated_at: string | null
  readonly launch_specification: object
}
export interface Reservation extends Bid {
  readonly start_time: string
  readonly end_time: string
  readonly total_price: string
  readonly unit_price: string
}
export interface Row {
  readonly fid: string
  readonly name: string
  readonly status: string
  readonly bid: string | null
  readonly reservation: string | null
  readonly ssh_destination: string | null
  readonly private_ip: string | null
}
export interface Period {
  readonly price_cents: number
  readonly start_time: string
  readonly end_time: string | null
}
export interface Usage {
  readonly reservation: { readonly status: string; readonly committed_cost_cents: number }
  readonly summary: Readonly<Record<'committed_cost_cents' | 'flex_use_credits_cents' | 'early_termination_credits_cents' | 'net_cost_cents', number>>
  readonly grants: readonly { readonly quantity: number; readonly unit_price: number }[]
  readonly pricing_events: readonly { readonly instance_status: string }[]
  readonly reservation_events: readonly { readonly event_type: string }[]
}

export const contract = loadMithrilContract()
let dataDir = ''
export let server: TestServer
export let project = ''
export let type = ''
export let key = ''
export const call = judgedMithrilCalls(() => server, contract)

/** A market of few slots for the tests of the file that calls this. */
export function useMarket(): void {
  before(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'mo-'))
    writeFileSync(join(dataDir, 'catalogue.json'), JSON.stringify(CATALOGUE))
    // The notice is what it is by default, five minutes: nobody is preempted by accident.
    server = await startServer({ dataDir, env: { BERTH_OVERCOMMIT_CPU: CPU_RATIO } })
    project = bodyOf<readonly { fid: string }[]>(await call('GET', '/projects'))[0]?.fid ?? ''
    type = bodyOf<readonly { fid: string }[]>(await call('GET', '/instance-types'))[0]?.fid ?? ''
    key = bodyOf<{ fid: string }>(await call('POST', '/ssh-keys', { body: { project, name: 'mine', public_key: KEY } })).fid
  })
  after(async () => {
    try {
      await server.stop()
    } finally {
      rmSync(dataDir, { recursive: true, force: true })
    }
  })
}

export const order = (name: string, change: object = {}) => ({
  project,
  region: REGION,
  instance_type: type,
  instance_quantity: 1,
  name,
  launch_specification: { ssh_keys: [key], volumes: [] },
  ...change,
})

export async function bid(name: string, price: string, change: object = {}): Promise<Bid> {
  const answer = await call('POST', '/spot/bids', { body: { ...order(name), limit_price: price, ...change } })
  assert.equal(answer.status, 201, answer.text)
  return answer.body as Bid
}

export async function getBid(fid: string): Promise<Bid> {
  return bodyOf<Bid>(await call('GET', `/spot/bids/${fid}`))
}

export function bidIs(fid: string, status: string): Promise<Bid> {
  return eventually(`${fid} is ${status}`, async () => {
    const found = await getBid(fid)
    return found.status === status ? found : null
  })
}

export async function rowsOf(query: string): Promise<readonly Row[]> {
  return bodyOf<{ data: readonly Row[] }>(await call('GET', `/instances?project=${project}&${query}`)).data
}

export function allAre(query: string, status: string, count: number): Promise<readonly Row[]> {
  return eventually(`${count} of ${query} are ${status}`, async () => {
    const rows = (await rowsOf(query)).filter(row => row.status === status)
    return rows.length === count ? rows : null
  })
}

/** Ends bids, and waits until their slots are free again. */
export async function end(...bids: readonly Bid[]): Promise<void> {
  for (const { fid } of bids) assert.ok([204, 404].includes((await call('DELETE', `/spot/bids/${fid}?project=${project}`)).status))
  for (const { fid } of bids) {
    await eventually(`nothing of ${fid} lives`, async () => ((await rowsOf(`bid_fid_in=${fid}`)).every(row => row.status === 'STATUS_TERMINATED') ? true : null))
  }
}

export async function prices(): Promise<Readonly<Record<string, number | null>>> {
  return bodyOf(await call('GET', `/pricing/current?instance_type=${type}&region=${REGION}`))
}

export async function pricesPaid(fid: string): Promise<readonly Period[]> {
  const { instances } = bodyOf<{ instances: readonly { events: readonly Period[] }[] }>(await call('GET', `/instances/pricing/history?project=${project}&instance_fid=${fid}`))
  return instances[0]?.events ?? []
}

export async function statuses(fid: string): Promise<readonly string[]> {
  const { instances } = bodyOf<{ instances: readonly { events: readonly { status: string }[] }[] }>(await call('GET', `/instances/status/history?project=${project}&instance_fid=${fid}`))
  return instances[0]?.events.map(event => event.status) ?? []
}

/** What a program inside reads of its own fate. */
export async function signalIs(fid: string, content: string): Promise<void> {
  const path = `/berth/v1/instances/${parseId('instance', 'mithril', fid) ?? ''}/files?path=/opt/mithril/MITHRIL_SIGNAL.yml`
  await eventually(`the signal file of ${fid} says\n${content}`, async () => ((await server.request('GET', path)).text === content ? true : null))
}
