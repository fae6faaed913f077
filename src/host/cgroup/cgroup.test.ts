import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { openCgroups } from './cgroup.ts'

describe('control groups', { skip: process.getuid?.() !== 0 }, () => {
  it('hold a process to its limits, count what it uses, and go when it has gone', async (context) => {
    const groups = await openCgroups()
    if (groups.version === null) {
      assert.equal(groups.warnings.length, 1)
      context.skip(groups.warnings[0])
      return
    }
    const name = randomUUID()
    const limits = { cpus: 1.25, memoryBytes: 64 * 1024 * 1024 }
    await groups.make(name, limits)
    await groups.make(name, limits)
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    try {
      assert.ok(child.pid !== undefined)
      await groups.enter(name, child.pid)
      assert.match(await readFile(`/proc/${child.pid}/cgroup`, 'utf8'), new RegExp(`/berth/${name}`))
      assert.ok((await groups.list()).includes(name))
      const use = await groups.use(name)
      assert.ok(use.cpuSeconds === null || use.cpuSeconds >= 0)
      assert.equal(use.oomKills, 0)
    } finally {
      child.kill('SIGKILL')
      await ended
      await groups.remove(name)
    }
    assert.ok(!(await groups.list()).includes(name))
    await groups.remove(name)
  })

  it('that yield weigh a tenth, until they are renamed', async (context) => {
    const groups = await openCgroups()
    const [from, to] = [randomUUID(), randomUUID()]
    const limits = { cpus: 1, memoryBytes: 64 * 1024 * 1024 }
    const weight = async (name: string) => {
      const files = [`/sys/fs/cgroup/cpu/berth/${name}/cpu.shares`, `/sys/fs/cgroup/berth/${name}/cpu.weight`].filter((file) => existsSync(file))
      return files[0] === undefined ? null : Number(await readFile(files[0], 'utf8'))
    }
    await groups.make(from, { ...limits, yields: true })
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    assert.ok(child.pid !== undefined)
    try {
      await groups.enter(from, child.pid)
      const before = await weight(from)
      if (before === null) {
        context.skip('the groups are elsewhere, or have no weight')
        return
      }
      await groups.rename(from, to, child.pid, limits)
      const after = await weight(to)
      assert.ok(after !== null && after >= before * 10, `${before}, then ${after}`)
    } finally {
      child.kill('SIGKILL')
      await ended
      for (const name of [from, to]) await groups.remove(name)
    }
  })

  it('of version 2 take processes, too, and say which controllers are missing', async (context) => {
    const root = '/sys/fs/cgroup/unified'
    if (!existsSync(join(root, 'cgroup.controllers'))) {
      context.skip('the first test is about version 2 on this machine, or it has none')
      return
    }
    const groups = await openCgroups(root)
    assert.equal(groups.version, 2)
    const name = randomUUID()
    await groups.make(name, { cpus: 1, memoryBytes: 64 * 1024 * 1024 })
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    assert.ok(child.pid !== undefined)
    await groups.enter(name, child.pid)
    assert.match(await readFile(`/proc/${child.pid}/cgroup`, 'utf8'), new RegExp(`^0::.*/berth/${name}$`, 'm'))
    assert.ok(((await groups.use(name)).cpuSeconds ?? -1) >= 0)
    child.kill('SIGKILL')
    await ended
    await groups.remove(name)
    assert.ok(!(await groups.list()).includes(name))
  })

  it('that a machine doesn’t have are a warning, and every call does nothing', async () => {
    const nothing = await mkdtemp(join(tmpdir(), 'berth-cgroup-'))
    try {
      const groups = await openCgroups(nothing)
      assert.equal(groups.version, null)
      assert.match(groups.warnings[0] ?? '', /limited by QEMU alone/)
      await groups.make('x', { cpus: 1, memoryBytes: 1 })
      await groups.enter('x', process.pid)
      assert.deepEqual(await groups.use('x'), { cpuSeconds: null, memoryBytes: null, oomKills: 0 })
      await groups.remove('x')
      assert.deepEqual(await groups.list(), [])
    } finally {
      await rm(nothing, { recursive: true, force: true })
    }
  })
})
