/** Forks of a running instance: how soon a copy says something, and how long the one that is copied stands still. */
import { once } from 'node:events'
import { openSocket } from '../test/support/exec-socket.ts'
import type { TestServer } from '../test/support/server.ts'
import { create, must, remove, says } from './berth.ts'
import { figureOf, timed, type Figure } from './figure.ts'

/** What the parent has written, so that copying its disk is work; zeros, so that its memory is little. */
const WRITTEN_MB = 256
/** A guest that says something now and then, without using up its CPU. */
const TALK = ['sh', '-c', 'while true; do echo; sleep 0.005; done']
/** It talks for so long before and after, so that the silence in between is seen whole. */
const LISTEN_MS = 300

export async function forks(server: TestServer, samples: number): Promise<Readonly<Record<string, Figure>>> {
  const parent = 'parent'
  const [up, still]: [number[], number[]] = [[], []]
  await create(server, { name: parent })
  try {
    await says(server, parent, ['sh', '-c', `dd if=/dev/zero of=/root/blob bs=1M count=${WRITTEN_MB} 2>/dev/null; sync; echo written`], 'written')
    for (let round = 0; round < samples; round += 1) {
      up.push(await timed(() => forkOf(server, parent, `fork-${round}`)))
      await remove(server, `fork-${round}`)
      still.push(await longestSilence(server, parent, () => must(server, 'POST', `/berth/v1/instances/${parent}/snapshots?wait=true`, { name: `kept-${round}`, kind: 'standby' })))
    }
  } finally {
    await remove(server, parent)
  }
  return { fork: figureOf('ms', up), fork_still: figureOf('ms', still) }
}

async function forkOf(server: TestServer, parent: string, name: string): Promise<void> {
  await must(server, 'POST', `/berth/v1/instances/${parent}/fork?wait=true`, { name })
  await says(server, name, ['echo', 'forked'], 'forked')
}

/** The longest time between two words of the guest while `work` is done. */
async function longestSilence(server: TestServer, name: string, work: () => Promise<unknown>): Promise<number> {
  const socket = await openSocket(server.url, server.key, `/instances/${name}/exec`)
  let last = performance.now()
  let longest = 0
  socket.on('message', () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  })
  socket.send(JSON.stringify({ command: TALK }))
  await once(socket, 'message')
  await pause()
  longest = 0
  await work()
  await pause()
  socket.close()
  await once(socket, 'close')
  return longest
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LISTEN_MS))
}
