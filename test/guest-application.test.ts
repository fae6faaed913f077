/** The guest's agent in real VMs: the application and its end, and what images bring along. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { BerthError } from '../src/instance/errors.ts'
import { busybox, command, fails, runs, shell, SLEEPER, useWorkshop, withMachine, workshop } from './guest-lab.ts'
import { Machine, PLAIN_CONFIG } from './guest-vm.ts'

const run = promisify(execFile)

useWorkshop()

describe('the application', () => {
  test('its output is the log, line by line, and its exit code ends the guest', async () => {
    await withMachine(busybox, async (machine, link) => {
      const exits: number[] = []
      link.onExit((exit) => exits.push(exit.code))
      await link.startApp({
        command: ['sh', '-c', 'echo "to out"; echo "to err" >&2; pwd; id -un; echo $GREETING; head -c 20000 /dev/zero | tr "\\0" x; echo; printf "no newline"; exit 3'],
        env: { GREETING: 'hi there' },
        workingDir: '/made/for/it',
        user: 'ann',
        stopSignal: null,
      })
      assert.equal(await machine.ended(), 0)
      assert.deepEqual(exits, [3])
      const lines = await machine.log()
      const output = lines.flatMap((line) => (line.kind === 'output' ? [line.record] : []))
      const told = (record: { stream: string; text: string; partial: boolean }) =>
        `${record.stream} ${record.text.length > 100 ? record.text.length : record.text} ${record.partial}`
      assert.deepEqual(new Set(output.map(told)), new Set([
        'stderr to err false', 'stdout /made/for/it false', 'stdout ann false', 'stdout hi there false',
        'stdout no newline false', 'stdout to out false', 'stdout 16384 true', 'stdout 3616 false',
      ]))
      const last = lines.at(-1)
      assert.deepEqual(last?.kind === 'exit' && last.exit, { code: 3, signal: null, message: 'exited' })
    })
  })

  test('10,000 lines at once are all in the log, in order', async () => {
    await withMachine(busybox, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['seq', '1', '10000'] })
      await machine.ended()
      const texts = (await machine.log()).flatMap((line) => (line.kind === 'output' ? [line.record.text] : []))
      assert.deepEqual(texts, Array.from({ length: 10_000 }, (_, index) => `${index + 1}`))
    })
  })

  test('the log and the exit are written while no server is there', async () => {
    await withMachine(busybox, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['sh', '-c', 'sleep 1; echo alone; exit 9'] })
      link.close()
      assert.equal(await machine.ended(), 0)
      const lines = await machine.log()
      assert.deepEqual(lines.map((line) => (line.kind === 'exit' ? line.exit.code : line.record.text)), ['alone', 9])
    })
  })

  test('what cannot be executed exits with 127 or 126 and says why in the log', async () => {
    for (const [program, code, pattern] of [['nothing-here', 127, /command not found/], ['/etc/hello', 126, /can't be executed/]] as const) {
      await withMachine(busybox, async (machine, link) => {
        await link.startApp({ ...SLEEPER, command: [program] })
        await machine.ended()
        const lines = await machine.log()
        assert.match(lines[0]?.kind === 'output' ? lines[0].record.text : '', pattern)
        const last = lines.at(-1)
        assert.equal(last?.kind === 'exit' && last.exit.code, code)
      })
    }
  })

  test('a stop is SIGTERM, grace, SIGKILL', async () => {
    await withMachine(busybox, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['sh', '-c', 'trap "echo bye; exit 6" TERM; echo up; while :; do sleep 0.1; done'] })
      await machine.logged('up')
      assert.deepEqual(await link.stopApp({ graceMs: 60_000 }), { code: 6, signal: null, message: 'exited' })
      assert.equal(await machine.ended(), 0)
    })
    await withMachine(busybox, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.1; done'] })
      await machine.logged('up')
      assert.deepEqual(await link.stopApp({ graceMs: 300 }), { code: 137, signal: 9, message: 'killed' })
      assert.equal(await machine.ended(), 0)
    })
  })

  test('the image decides the stop signal', async () => {
    await withMachine(busybox, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['sh', '-c', 'trap "exit 8" QUIT; echo up; while :; do sleep 0.1; done'], stopSignal: 'SIGQUIT' })
      await machine.logged('up')
      assert.equal((await link.stopApp({ graceMs: 60_000 })).code, 8)
    })
  })

  test('out of memory is told apart from a kill', async () => {
    await withMachine(busybox, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['tail', '/dev/zero'] })
      assert.equal(await machine.ended(), 0)
      const last = (await machine.log()).at(-1)
      assert.deepEqual(last?.kind === 'exit' && last.exit, { code: 137, signal: 9, message: 'out of memory' })
    }, { memoryMb: 128 })
  })

  test('a kernel panic ends the VMM', async () => {
    await withMachine(busybox, async (machine, link) => {
      await link.startApp(SLEEPER)
      const closed = new Promise<BerthError>((resolve) => link.onClose(resolve))
      const session = await link.exec(shell('echo c > /proc/sysrq-trigger'))
      await machine.ended()
      assert.equal((await closed).code, 'guest_unreachable')
      await assert.rejects(session.exit, fails('guest_unreachable', /closed/))
      assert.match(await machine.console(), /Kernel panic/)
    })
  })

  test('powering off without an application writes the disks out', async () => {
    const overlay = await workshop.ext4()
    await withMachine(busybox, async (machine, link) => {
      await runs(link, shell('echo kept > /root/file'))
      await link.powerOff()
      assert.equal(await machine.ended(), 0)
    }, { disks: { overlay } })
    await run('e2fsck', ['-fn', overlay], { timeout: 60_000 })
    const { stdout } = await run('debugfs', ['-R', 'cat upper/root/file', overlay], { timeout: 60_000 })
    assert.equal(stdout, 'kept\n')
  })
})

describe('the image', () => {
  test('needs no shell: a static program alone is enough', async () => {
    const source = join(workshop.dir, 'alone.c')
    await writeFile(source, '#include <unistd.h>\n#include <stdio.h>\nint main(int c, char **v) { printf("%s %d\\n", v[1], getpid() > 1); return c; }\n')
    const root = await workshop.root('alone', async (tree) => {
      await run('musl-gcc', ['-static', '-o', join(tree, 'alone'), source], { timeout: 60_000 })
    })
    await withMachine(root, async (machine, link) => {
      const result = await runs(link, command(['/alone', 'exec']))
      assert.deepEqual([result.stdout, result.code], ['exec 1\n', 2])
      assert.equal((await runs(link, command(['/alone', 'as'], { user: 'root' }))).stdout, 'as 1\n')
      await assert.rejects(link.exec(command(['/alone'], { user: 'ann' })), fails('invalid_request', /ann/))
      assert.equal((await link.stat('/etc/hostname', { followLinks: false })).kind, 'file')
      await link.startApp({ ...SLEEPER, command: ['/alone', 'app', 'x'] })
      await machine.ended()
      const lines = await machine.log()
      assert.deepEqual(lines.map((line) => (line.kind === 'exit' ? line.exit.code : line.record.text)), ['app 1', 3])
    })
  })

  test('may have links where directories and files are expected', async () => {
    const root = await workshop.busyboxRoot('odd', async (tree) => {
      await symlink('/nowhere', join(tree, 'proc'))
      await symlink('../run/systemd/resolve/stub-resolv.conf', join(tree, 'etc/resolv.conf'))
      await symlink('/missing/hosts', join(tree, 'etc/hosts'))
      await writeFile(join(tree, 'etc/machine-id'), '')
      await writeFile(join(tree, 'sys'), 'a file')
    })
    const config = { ...PLAIN_CONFIG, dns: ['10.0.2.3', '1.1.1.1'] }
    await withMachine(root, async (_machine, link) => {
      const { stdout } = await runs(link, shell('cat /etc/resolv.conf /etc/hostname /etc/machine-id; grep dock /etc/hosts; hostname; test -d /proc/1 && test -d /sys/class && echo mounted'))
      assert.equal(stdout, `nameserver 10.0.2.3\nnameserver 1.1.1.1\ndock\n${config.machineId}\n127.0.1.1 dock\ndock\nmounted\n`)
    }, { config })
  })

  test('gets no machine-id where nothing would read it', async () => {
    await withMachine(busybox, async (_machine, link) => {
      assert.equal((await link.stat('/etc/machine-id', { followLinks: false })).exists, false)
    })
  })

  test('has its network: address, route and names', async () => {
    const network = { mac: '52:54:00:11:22:33', ip: '10.0.2.15', prefixLength: 24, gateway: '10.0.2.2', mtu: 1400 }
    await withMachine(busybox, async (_machine, link) => {
      const { stdout } = await runs(link, shell('ifconfig eth0; route -n; ping -c 1 -W 20 10.0.2.2 >/dev/null && echo reached; grep dock /etc/hosts; ping -c 1 127.0.0.1 > /dev/null && echo loop'))
      assert.match(stdout, /HWaddr 52:54:00:11:22:33[^]*inet addr:10\.0\.2\.15 .*Mask:255\.255\.255\.0[^]*MTU:1400/)
      assert.match(stdout, /^0\.0\.0\.0 +10\.0\.2\.2 /m)
      assert.match(stdout, /reached\n10\.0\.2\.15 dock\nloop/)
    }, { config: { ...PLAIN_CONFIG, network }, network: true })
  })

  test('a missing disk or interface is said by name', async () => {
    const machine = await Machine.boot(workshop, { disks: { root: busybox } })
    try {
      const link = await machine.connect()
      const network = { mac: '52:54:00:11:22:33', ip: '10.0.2.15', prefixLength: 24, gateway: null, mtu: null }
      await assert.rejects(link.configure({ ...PLAIN_CONFIG, network }), fails('internal', /52:54:00:11:22:33/))
      await assert.rejects(link.configure({ ...PLAIN_CONFIG, root: { serial: 'absent', overlaySerial: null } }), fails('internal', /absent/))
      await link.configure({ ...PLAIN_CONFIG, root: { serial: 'root', overlaySerial: null } })
      assert.equal((await runs(link, shell('echo x > /written; cat /written'))).stdout, 'x\n')
      link.close()
    } finally {
      await machine.kill()
    }
  })

  test('may have an init that lets go of its console and comes back to it', async () => {
    const root = await workshop.busyboxRoot('shy', async (tree) => {
      await writeFile(join(tree, 'sbin/init'), '#!/bin/sh\necho one\nexec </dev/null >/dev/null 2>&1\nsleep 1\necho two > /dev/console\nsleep 1\necho three > /dev/console\nexit 5\n')
      await chmod(join(tree, 'sbin/init'), 0o755)
    })
    await withMachine(root, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['/sbin/init'] })
      assert.equal(await machine.ended(), 0)
      const lines = await machine.log()
      assert.deepEqual(lines.map((line) => (line.kind === 'exit' ? line.exit.code : line.record.text)), ['one', 'two', 'three', 5])
    })
  })

  test('with an init gets it as process 1 of its own, and commands join it', async () => {
    const root = await workshop.busyboxRoot('init', async (tree) => {
      await symlink('/bin/busybox', join(tree, 'sbin/init'))
      await mkdir(join(tree, 'etc/init.d'), { recursive: true })
      await writeFile(join(tree, 'etc/inittab'), '::sysinit:/etc/init.d/rcS\n::respawn:/bin/sleep 54321\n::shutdown:/bin/sh -c "echo going down > /dev/console"\n')
      await writeFile(join(tree, 'etc/init.d/rcS'), '#!/bin/sh\necho "started in $container with $WORD"\n')
      await chmod(join(tree, 'etc/init.d/rcS'), 0o755)
    })
    const volume = await workshop.ext4()
    await withMachine(root, async (machine, link) => {
      await link.startApp({ ...SLEEPER, command: ['/sbin/init'], env: { WORD: 'words' } })
      const { stdout } = await runs(link, shell('for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do ps | grep -q "[s]leep 54321" && break; sleep 0.3; done; cat /proc/1/comm; ps | grep -c "[k]threadd"; tty; echo $WORD; echo x > /run/here; mkdir /sys/fs/cgroup/mine && echo cgroup'))
      assert.equal(stdout, 'init\n0\nnot a tty\nwords\ncgroup\n')
      const missing = await link.exec(command(['nothing-here'])).then(() => null, (error: unknown) => error)
      fails('command_not_found', /nothing-here/)(missing)
      assert.equal((await runs(link, shell('tty', { tty: { rows: 24, cols: 80 } }))).stdout.startsWith('/dev/pts/'), true)
      const { timedOut } = await runs(link, shell('sleep 65432 & sleep 65432', { timeoutMs: 300 }))
      assert.equal(timedOut, true)
      assert.equal((await runs(link, shell('ps | grep -c "[s]leep 65432"'))).stdout, '0\n')
      assert.equal((await link.stat('/run/here', { followLinks: false })).kind, 'file')
      await link.mountVolume({ serial: 'vol-0', path: '/data', mode: 'rw', overlaySerial: null })
      assert.equal((await runs(link, shell('grep -c " /data ext4" /proc/mounts; echo v > /data/v'))).stdout, '1\n')
      await link.unmountVolume('/data')
      assert.equal((await runs(link, shell('grep -c " /data ext4" /proc/mounts'))).stdout, '0\n')
      assert.deepEqual(await link.stopApp({ graceMs: 60_000 }), { code: 0, signal: null, message: 'powered off' })
      assert.equal(await machine.ended(), 0)
      const texts = (await machine.log()).flatMap((line) => (line.kind === 'output' ? [line.record.text.trim()] : []))
      assert(texts.includes('started in berth with words'), texts.join('|'))
      assert(texts.includes('going down'), texts.join('|'))
    }, { disks: { 'vol-0': volume } })
  })
})
