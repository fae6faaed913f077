/** Real VMs through the Host port: a life from start to destroy, standby, volumes, and every way to end. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { runCommand } from '../src/host/command.ts'
import { QmpClient } from '../src/host/qemu/qmp.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { VolumeId } from '../src/instance/model.ts'
import { eventually, exec, isRoot, logLines, openLab, qemusOf, refOf, shell, traces, untilExited, volume, type Lab } from './host-lab.ts'

/** The process of the application; busybox has no pgrep. */
const PROCESS = `ps | awk '/[w]hile true/ { print $1; exit }'`
const MIB = 1024 * 1024

describe('a VM behind the Host port', () => {
  let lab: Lab
  before(async () => {
    lab = await openLab()
  })
  after(() => lab.close())

  it('lives: starts, executes, logs, stops, keeps its disk, starts again, and leaves nothing', async () => {
    const spec = lab.spec({ command: ['sh', '-c', 'echo out; echo err >&2; trap "exit 7" TERM; while true; do sleep 0.1; done'] })
    const started = await lab.host.start(spec)
    assert.equal(started.how, 'cold')
    assert.deepEqual(await exec(lab.host, spec, ['sh', '-c', 'echo a; echo b >&2; exit 3']), { code: 3, stdout: 'a', stderr: 'b' })
    assert.equal((await lab.host.start(spec)).how, 'already-running')
    assert.equal((await qemusOf(spec.instanceId)).length, 1)
    const lines = await eventually('the application’s lines', async () => {
      const records = await logLines(lab.host, spec)
      return records.length >= 2 && records
    })
    assert.deepEqual(new Set(lines.map(({ stream, text }) => `${stream} ${text}`)), new Set(['stdout out', 'stderr err']))
    await shell(lab.host, spec, 'echo kept > /root/kept; sync')

    const exit = await lab.host.stop(refOf(spec), { graceMs: 30_000 })
    assert.equal(exit?.code, 7)
    assert.deepEqual(await lab.host.stop(refOf(spec), { graceMs: 0 }), exit)
    assert.deepEqual(await lab.host.inventory(), [{ ...refOf(spec), status: 'exited', exit }])
    await assert.rejects(exec(lab.host, spec, ['true']), isError('invalid_state'))

    const second = { ...spec, generation: 2 }
    await lab.host.start(second)
    assert.equal(await shell(lab.host, second, 'cat /root/kept'), 'kept')
    await assert.rejects(lab.host.stop(refOf(spec), { graceMs: 0 }), isError('invalid_state'))
    assert.equal((await exec(lab.host, second, ['true'])).code, 0)

    await lab.host.destroy(refOf(second))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
    assert.deepEqual(await lab.host.inventory(), [])
    await lab.host.destroy(refOf(second))
  })

  it('sleeps and wakes: the same processes, address, connections and files, with the clock set right', async () => {
    const spec = lab.spec({ command: ['sh', '-c', 'i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.05; done'] })
    await lab.host.start(spec)
    await eventually('a count', async () => (await exec(lab.host, spec, ['cat', '/count'])).code === 0)
    const before = {
      count: Number(await shell(lab.host, spec, 'cat /count')),
      processes: await shell(lab.host, spec, PROCESS),
      address: await shell(lab.host, spec, 'ip -o addr show eth0 | head -n 1; cat /sys/class/net/eth0/address'),
      random: await shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum'),
    }
    for (let round = 0; round < 2; round += 1) {
      const { savedBytes } = await lab.host.suspend(refOf(spec))
      assert.ok(savedBytes > 0)
      assert.deepEqual(await qemusOf(spec.instanceId), [])
      assert.deepEqual(await lab.host.suspend(refOf(spec)), { savedBytes })
      assert.equal((await lab.host.inventory()).find((vm) => vm.instanceId === spec.instanceId)?.status, 'suspended')
      assert.equal((await lab.host.resume(spec)).how, 'restored')
    }
    assert.equal((await lab.host.resume(spec)).how, 'already-running')
    const now = Number(await shell(lab.host, spec, 'date +%s'))
    assert.ok(Math.abs(now - Date.now() / 1000) < 30, `the guest's clock is ${now}`)
    assert.equal(await shell(lab.host, spec, PROCESS), before.processes)
    assert.equal(await shell(lab.host, spec, 'ip -o addr show eth0 | head -n 1; cat /sys/class/net/eth0/address'), before.address)
    assert.notEqual(await shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum'), before.random)
    await eventually('the count to go on', async () => Number(await shell(lab.host, spec, 'cat /count || echo 0')) > before.count)
    await lab.host.destroy(refOf(spec))
  })

  it('a standby that can’t be written leaves the instance running; one in standby can be stopped', async () => {
    const spec = lab.spec()
    await lab.host.start(spec)
    const blocked = join(lab.dataDir, 'instances', spec.instanceId, 'state.new')
    await mkdir(blocked)
    await assert.rejects(lab.host.suspend(refOf(spec)), (error) => error instanceof BerthError)
    assert.equal((await exec(lab.host, spec, ['echo', 'alive'])).stdout, 'alive')
    assert.equal((await lab.host.inventory()).find((vm) => vm.instanceId === spec.instanceId)?.status, 'running')
    await rm(blocked, { recursive: true })
    await lab.host.suspend(refOf(spec))
    await assert.rejects(lab.host.start(spec), isError('invalid_state'))
    assert.equal(await lab.host.stop(refOf(spec), { graceMs: 0 }), null)
    await assert.rejects(lab.host.resume(spec), isError('invalid_state'))
    await lab.host.destroy(refOf(spec))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('takes volumes while it runs and through standby, in every mode, and gives them back', async () => {
    const [own, shared] = [`own-${randomUUID()}` as VolumeId, `shared-${randomUUID()}` as VolumeId]
    for (const id of [own, shared]) await lab.host.createVolume({ id, sizeBytes: 16 * MIB })
    const writer = lab.spec({ volumes: [volume(shared, '/data', 'rw')] })
    await lab.host.start(writer)
    await shell(lab.host, writer, 'echo base > /data/file; sync')
    await lab.host.stop(refOf(writer), { graceMs: 10_000 })
    await lab.host.destroy(refOf(writer))

    const [one, two] = [lab.spec({ diskIoBytesPerSecond: 100 * MIB }), lab.spec()]
    await Promise.all([lab.host.start(one), lab.host.start(two)])
    await lab.host.attachVolume(refOf(one), volume(own, '/mnt/own', 'rw'))
    await lab.host.attachVolume(refOf(one), volume(own, '/mnt/own', 'rw'))
    await Promise.all([one, two].map((vm) => lab.host.attachVolume(refOf(vm), volume(shared, '/mnt/shared', 'ro'))))
    await shell(lab.host, one, 'echo mine > /mnt/own/file; sync')
    for (const vm of [one, two]) {
      assert.equal(await shell(lab.host, vm, 'cat /mnt/shared/file'), 'base')
      assert.notEqual((await exec(lab.host, vm, ['sh', '-c', 'echo no > /mnt/shared/file'])).code, 0)
    }
    await assert.rejects(lab.host.attachVolume(refOf(one), volume(own, '/mnt/elsewhere', 'rw')), isError('volume_conflict'))

    await lab.host.suspend(refOf(one))
    await lab.host.resume(one)
    assert.equal(await shell(lab.host, one, 'cat /mnt/own/file /mnt/shared/file'), 'mine\nbase')

    const busy = await lab.host.exec(refOf(one), { command: ['sh', '-c', 'cd /mnt/own; echo in; sleep 1000'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null })
    for await (const { data } of busy.output) if (Buffer.from(data).toString().includes('in')) break
    await assert.rejects(lab.host.detachVolume(refOf(one), own), isError('volume_in_use'))
    busy.close()
    await eventually('the volume to be free', () => lab.host.detachVolume(refOf(one), own).then(() => true, () => false))
    await lab.host.detachVolume(refOf(one), own)
    assert.notEqual((await exec(lab.host, one, ['cat', '/mnt/own/file'])).code, 0)
    await lab.host.detachVolume(refOf(one), shared)
    await lab.host.attachVolume(refOf(one), volume(shared, '/mnt/layered', 'overlay', 16 * MIB))
    await shell(lab.host, one, 'echo over > /mnt/layered/file; sync')
    assert.equal(await shell(lab.host, two, 'cat /mnt/shared/file'), 'base')

    await lab.host.attachVolume(refOf(two), volume(own, '/mnt/own', 'rw'))
    assert.equal(await shell(lab.host, two, 'cat /mnt/own/file'), 'mine')
    await lab.host.stop(refOf(one), { graceMs: 1000 })
    const again = { ...one, generation: 2, volumes: [volume(shared, '/mnt/layered', 'overlay', 16 * MIB)] }
    await lab.host.start(again)
    assert.equal(await shell(lab.host, again, 'cat /mnt/layered/file'), 'over')
    await assert.rejects(lab.host.deleteVolume(own), isError('volume_in_use'))
    await Promise.all([lab.host.destroy(refOf(again)), lab.host.destroy(refOf(two))])
    await lab.host.deleteVolume(own)
    await lab.host.deleteVolume(shared)
  })

  it('copies files in and out, and tells what is at a path', async () => {
    const spec = lab.spec()
    await lab.host.start(spec)
    const bytes = Buffer.alloc(300_000, 'berth')
    const entry = { path: 'dir/file', kind: 'file', mode: 0o640, uid: 5, gid: 6, sizeBytes: bytes.length, mtimeSeconds: 1000, linkTarget: null } as const
    async function* items() {
      yield { type: 'entry', entry } as const
      yield { type: 'data', data: bytes } as const
    }
    assert.deepEqual(await lab.host.copyIn(refOf(spec), '/srv', items()), { bytesWritten: bytes.length })
    const info = await lab.host.stat(refOf(spec), '/srv/dir/file', { followLinks: true })
    assert.deepEqual([info.exists, info.kind, info.mode, info.uid, info.sizeBytes], [true, 'file', 0o640, 5, bytes.length])
    const pieces: Buffer[] = []
    for await (const item of lab.host.copyOut(refOf(spec), '/srv/dir/file', { followLinks: true })) if (item.type === 'data') pieces.push(Buffer.from(item.data))
    assert.ok(Buffer.concat(pieces).equals(bytes))
    const stats = await lab.host.stats(refOf(spec))
    assert.ok(stats.cpuSeconds > 0 && stats.memoryRssBytes > 0 && stats.diskReadBytes > 0)
    assert.ok((stats.guest?.memoryTotalBytes ?? 0) > 64 * MIB)
    await lab.host.destroy(refOf(spec))
  })

  it('follows a log while it grows and through its rotation, without losing a line', async () => {
    const small = await openLab({ logLimitBytes: 64 * 1024 })
    try {
      const count = 6000
      const spec = small.spec({ command: ['sh', '-c', `i=0; while [ $i -lt ${count} ]; do i=$((i+1)); echo line-$i; done; sleep 1000`] })
      await small.host.start(spec)
      const over = new AbortController()
      const seen: string[] = []
      for await (const record of small.host.logs(refOf(spec), { source: 'app', tail: null, follow: true, signal: over.signal })) {
        seen.push(record.text)
        if (record.text === `line-${count}`) over.abort()
      }
      assert.deepEqual(seen.slice(-count), Array.from({ length: count }, (_, index) => `line-${index + 1}`))
      assert.deepEqual((await logLines(small.host, spec, { tail: 3 })).map(({ text }) => text), [`line-${count - 2}`, `line-${count - 1}`, `line-${count}`])
      await eventually('a rotated log', async () => (await stat(join(small.dataDir, 'instances', spec.instanceId, 'app.log.1')).catch(() => null)) !== null)
      const server = await logLines(small.host, spec, { source: 'server' })
      assert.ok(server.some(({ text, at }) => text.startsWith('running after') && at !== null))
    } finally {
      await small.close()
    }
  })

  const endings: readonly { readonly name: string; readonly script: string; readonly message: RegExp; readonly code: number }[] = [
    { name: 'an application that ends', script: 'exit 42', message: /^exited$/, code: 42 },
    { name: 'a command that doesn’t exist', script: '', message: /./, code: 127 },
    { name: 'a guest that powers off', script: 'poweroff -f', message: /^powered off$/, code: 0 },
    { name: 'a guest that panics', script: 'echo c > /proc/sysrq-trigger; sleep 1000', message: /^guest panicked/, code: 255 },
    { name: 'a guest that runs out of memory', script: 'cat /dev/zero > /dev/shm/fill; x=$(tr "\\0" a < /dev/zero)', message: /^out of memory$/, code: 137 },
  ]
  for (const { name, script, message, code } of endings) {
    it(`tells how it ended: ${name}`, async () => {
      const spec = lab.spec({ command: script === '' ? ['/no/such/program'] : ['sh', '-c', script] })
      await lab.host.start(spec)
      const { exit } = await untilExited(lab, spec)
      assert.match(exit.message, message)
      assert.equal(exit.code, code)
      assert.deepEqual(await qemusOf(spec.instanceId), [])
      assert.equal((await lab.host.inventory()).find((vm) => vm.instanceId === spec.instanceId)?.status, 'exited')
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    })
  }

  it('a VMM that is killed is noticed, and what it left can be destroyed', async () => {
    const spec = lab.spec()
    await lab.host.start(spec)
    const [pid] = await qemusOf(spec.instanceId)
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    const { exit } = await untilExited(lab, spec)
    assert.match(exit.message, /^VMM died/)
    assert.equal(exit.code, 137)
    await lab.host.destroy(refOf(spec))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('runs QEMU in its jail: a user of its own, its own control group, no way to gain rights', { skip: !isRoot }, async () => {
    const spec = lab.spec()
    await lab.host.start(spec)
    const [pid] = await qemusOf(spec.instanceId)
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    assert.ok(Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]) >= 1_879_048_192)
    assert.match(status, /^CapBnd:\s+0+$/m)
    assert.match(status, /^NoNewPrivs:\s+1$/m)
    assert.match(status, /^Seccomp:\s+2$/m)
    assert.match(await readFile(`/proc/${pid}/cgroup`, 'utf8'), new RegExp(`berth/${spec.instanceId}`))
    await lab.host.destroy(refOf(spec))
  })

  it('refuses what can’t be: an image that isn’t there, a volume that isn’t there, a port that is taken', async () => {
    const missing = lab.spec({ image: `sha256:${'0'.repeat(64)}` as Lab['image']['digest'] })
    await assert.rejects(lab.host.start(missing), isError('image_not_found'))
    const without = lab.spec({ volumes: [volume('no-such-volume' as VolumeId, '/data', 'rw')] })
    await assert.rejects(lab.host.start(without), isError('volume_not_found'))
    const blocker = createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    const address = blocker.address()
    const hostPort = typeof address === 'object' && address !== null ? address.port : 0
    const { network } = lab.spec()
    assert.ok(network !== null)
    const taken = lab.spec({ network: { ...network, ports: [{ hostPort, guestPort: 80, protocol: 'tcp' }] } })
    await assert.rejects(lab.host.start(taken), isError('port_in_use'))
    await new Promise((resolve) => blocker.close(resolve))
    for (const spec of [missing, without, taken]) assert.deepEqual(await traces(lab, spec.instanceId), [])
    const known = new Set((await lab.host.inventory()).map((vm) => vm.instanceId))
    for (const spec of [missing, without, taken]) assert.ok(!known.has(spec.instanceId))
  })
})

describe('a host that comes back', () => {
  let lab: Lab
  before(async () => {
    lab = await openLab()
  })
  after(() => lab.close())

  it('takes over what runs, keeps what sleeps, tells what ended, and starts nothing twice', async () => {
    const [running, sleeping, ending] = [
      lab.spec(),
      lab.spec({ command: ['sh', '-c', 'echo here > /mark; sleep 1000000'] }),
      lab.spec({ command: ['sh', '-c', 'while [ ! -e /go ]; do sleep 0.2; done; exit 9'] }),
    ]
    for (const spec of [running, sleeping, ending]) await lab.host.start(spec)
    await eventually('the mark', async () => (await exec(lab.host, sleeping, ['cat', '/mark'])).code === 0)
    await lab.host.suspend(refOf(sleeping))
    const before = await qemusOf(running.instanceId)
    await shell(lab.host, ending, '(sleep 3; touch /go) >/dev/null 2>&1 &')
    await lab.reopen()
    assert.deepEqual(await qemusOf(running.instanceId), before)
    const inventory = new Map((await lab.host.inventory()).map((vm) => [vm.instanceId, vm.status]))
    assert.equal(inventory.get(running.instanceId), 'running')
    assert.equal(inventory.get(sleeping.instanceId), 'suspended')
    assert.equal((await lab.host.start(running)).how, 'already-running')
    assert.equal((await exec(lab.host, running, ['true'])).code, 0)
    await lab.host.resume(sleeping)
    assert.equal(await shell(lab.host, sleeping, 'cat /mark'), 'here')
    await lab.host.stop(refOf(running), { graceMs: 0 })
    assert.deepEqual(await qemusOf(running.instanceId), [])
    for (const spec of [running, sleeping, ending]) await lab.host.destroy(refOf(spec))
  })

  it('tells how a VM ended while no server ran', async () => {
    const [killed, exited] = [lab.spec(), lab.spec({ command: ['sh', '-c', 'trap "exit 9" USR1; echo ready; while true; do sleep 0.1; done'] })]
    for (const spec of [killed, exited]) await lab.host.start(spec)
    await eventually('readiness', async () => (await logLines(lab.host, exited)).length > 0)
    const [pid] = await qemusOf(killed.instanceId)
    await shell(lab.host, exited, `setsid sh -c "sleep 2; kill -USR1 $(ps | awk '/[t]rap/ { print $1; exit }')" >/dev/null 2>&1 &`)
    await lab.host.close()
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    await eventually('their end', async () => (await qemusOf(killed.instanceId)).length + (await qemusOf(exited.instanceId)).length === 0)
    await lab.reopen()
    const find = async (id: string) => (await lab.host.inventory()).find((vm) => vm.instanceId === id)
    const first = await find(killed.instanceId)
    assert.equal(first?.status, 'exited')
    assert.match(first.exit?.message ?? '', /^VMM died/)
    assert.equal((await find(exited.instanceId))?.exit?.code, 9)
    for (const spec of [killed, exited]) await lab.host.destroy(refOf(spec))
  })

  it('mends what a server left half-way: a standby goes back to running, a start is undone, a stray ends', async () => {
    const [standby, starting, stray] = [lab.spec(), lab.spec(), lab.spec()]
    for (const spec of [standby, starting, stray]) await lab.host.start(spec)
    await lab.host.close()
    const change = async (id: string, from: RegExp, to: string) => {
      const path = join(lab.dataDir, 'instances', id, 'vm.json')
      const text = await readFile(path, 'utf8')
      assert.match(text, from)
      await writeFile(path, text.replace(from, to))
    }
    const [run] = await readdir(lab.runDir)
    const qmp = await QmpClient.connect(join(lab.runDir, run ?? '', standby.instanceId, 'qmp'), { timeoutMs: 30_000 })
    await qmp.execute('stop')
    qmp.close()
    await change(standby.instanceId, /"status": "running"/, '"status": "suspending"')
    await change(starting.instanceId, /"status": "running"/, '"status": "starting"')
    // The record that was on the disk before QEMU was started.
    await change(stray.instanceId, /"status": "running"/, '"status": "prepared"')
    await change(stray.instanceId, /"process": \{[^}]*\}/, '"process": null')
    await lab.reopen()
    const inventory = new Map((await lab.host.inventory()).map((vm) => [vm.instanceId, vm.status]))
    assert.deepEqual([standby, starting, stray].map(({ instanceId }) => inventory.get(instanceId)), ['running', 'prepared', 'prepared'])
    assert.equal((await exec(lab.host, standby, ['true'])).code, 0)
    for (const { instanceId } of [starting, stray]) assert.deepEqual(await qemusOf(instanceId), [])
    await lab.host.start(stray)
    assert.equal((await exec(lab.host, stray, ['true'])).code, 0)
    for (const spec of [standby, starting, stray]) await lab.host.destroy(refOf(spec))
  })

  it('after a restart of the machine nothing pretends to run, and a standby that never reached the disk is not trusted', async () => {
    const [running, sleeping, durable] = [lab.spec(), lab.spec(), lab.spec()]
    for (const spec of [running, sleeping, durable]) await lab.host.start(spec)
    await lab.host.suspend(refOf(sleeping))
    await lab.host.suspend(refOf(durable))
    const recordOf = (id: string) => join(lab.dataDir, 'instances', id, 'vm.json')
    await eventually('a durable standby', async () => JSON.parse(await readFile(recordOf(durable.instanceId), 'utf8')).saved?.synced === true)
    await eventually('a durable standby', async () => JSON.parse(await readFile(recordOf(sleeping.instanceId), 'utf8')).saved?.synced === true)
    await lab.host.close()
    const [pid] = await qemusOf(running.instanceId)
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    // What a restart looks like from here: another boot id, and pids that mean somebody else.
    for (const spec of [running, sleeping, durable]) {
      const text = (await readFile(recordOf(spec.instanceId), 'utf8')).replaceAll(/"bootId": "[^"]+"/g, `"bootId": "${randomUUID()}"`)
      await writeFile(recordOf(spec.instanceId), spec === sleeping ? text.replace('"synced": true', '"synced": false') : text)
    }
    await lab.reopen()
    const inventory = new Map((await lab.host.inventory()).map((vm) => [vm.instanceId, vm]))
    assert.deepEqual([inventory.get(running.instanceId)?.status, inventory.get(running.instanceId)?.exit], ['exited', null])
    assert.equal(inventory.get(sleeping.instanceId)?.status, 'exited')
    assert.match(inventory.get(sleeping.instanceId)?.exit?.message ?? '', /standby was lost/)
    assert.equal(inventory.get(durable.instanceId)?.status, 'suspended')
    await lab.host.resume(durable)
    assert.equal((await exec(lab.host, durable, ['true'])).code, 0)
    for (const spec of [running, sleeping, durable]) await lab.host.destroy(refOf(spec))
  })
})

describe('a host whose disk is full', { skip: !isRoot }, () => {
  it('says so, leaves nothing half-made, and works again when there is room', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'berth-full-'))
    await runCommand('mount', ['-t', 'tmpfs', '-o', `size=${200 * MIB}`, 'tmpfs', dataDir])
    try {
      const lab = await openLab({ dataDir, images: { minFreeBytes: 0 } })
      try {
        const filler = join(dataDir, 'filler')
        await writeFile(filler, Buffer.alloc(80 * MIB))
        const spec = lab.spec()
        await assert.rejects(lab.host.start(spec), isError('disk_full'))
        await writeFile(filler, '')
        await lab.host.start(spec)
        await fillUp(filler)
        const other = lab.spec()
        await assert.rejects(lab.host.start(other), isError('disk_full'))
        await assert.rejects(lab.host.createVolume({ id: 'full' as VolumeId, sizeBytes: 64 * MIB }), isError('disk_full'))
        await assert.rejects(lab.host.suspend(refOf(spec)), isError('disk_full'))
        assert.equal((await exec(lab.host, spec, ['echo', 'alive'])).stdout, 'alive')
        const writing = exec(lab.host, spec, ['sh', '-c', 'head -c 8000000 /dev/urandom > /big && sync && wc -c < /big'])
        await eventually('the pause', () => lab.events.some((event) => event.kind === 'agent' && !event.reachable && /disk of the host is full/.test(event.reason ?? '')))
        await writeFile(filler, '')
        assert.deepEqual(await writing, { code: 0, stdout: '8000000', stderr: '' })
        await lab.host.suspend(refOf(spec))
        await lab.host.resume(spec)
        assert.equal((await exec(lab.host, spec, ['echo', 'alive'])).stdout, 'alive')
        await lab.host.destroy(refOf(spec))
        for (const { instanceId } of [spec, other]) assert.deepEqual(await traces(lab, instanceId), [])
      } finally {
        await lab.close().catch((error: unknown) => {
          // The directory itself is a mount point, which can't be removed yet.
          if (!(error instanceof Error && 'code' in error && error.code === 'EBUSY')) throw error
        })
      }
    } finally {
      await runCommand('umount', ['--lazy', dataDir])
      await rm(dataDir, { recursive: true, force: true })
    }
  })
})

/** Writes until nothing fits any more. */
async function fillUp(path: string): Promise<void> {
  const file = await open(path, 'a')
  try {
    for (const bytes of [MIB, 4096]) {
      const piece = Buffer.alloc(bytes)
      let full = false
      while (!full) {
        await file.appendFile(piece).catch((error: unknown) => {
          if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
          full = true
        })
      }
    }
  } finally {
    await file.close()
  }
}

function isError(code: BerthError['code']): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof BerthError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  }
}
