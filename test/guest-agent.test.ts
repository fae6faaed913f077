/** The guest's agent in real VMs: boot, configuration, the application and its end, commands and their limits. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { ExecRequest, ExecSession } from '../src/engine/host-port.ts'
import type { GuestConfig } from '../src/host/guest-link/guest-config.ts'
import type { GuestLink } from '../src/host/guest-link/link.ts'
import { HOST_MARKER } from '../src/host/guest-link/protocol.ts'
import { BerthError, type ErrorCode } from '../src/instance/errors.ts'
import { collect, Machine, PLAIN_CONFIG, Workshop } from './guest-vm.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024

let workshop: Workshop
let busybox: string

before(async () => {
  workshop = await Workshop.open()
  busybox = await workshop.busyboxRoot('busybox')
})
after(async () => await workshop?.remove())

function command(argv: readonly string[], more: Partial<ExecRequest> = {}): ExecRequest {
  return { command: argv, env: {}, workingDir: null, user: null, tty: null, timeoutMs: null, ...more }
}

function shell(script: string, more: Partial<ExecRequest> = {}): ExecRequest {
  return command(['sh', '-c', script], more)
}

async function finish(session: ExecSession): Promise<{ stdout: string; stderr: string; code: number; signal: number | null; timedOut: boolean }> {
  const output = await collect(session.output)
  return { ...output, ...(await session.exit) }
}

async function runs(link: GuestLink, request: ExecRequest): ReturnType<typeof finish> {
  const session = await link.exec(request)
  await session.endInput()
  return await finish(session)
}

function fails(code: ErrorCode, pattern: RegExp): (error: unknown) => true {
  return (error) => {
    assert(error instanceof BerthError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, pattern)
    return true
  }
}

const SLEEPER = { command: ['sleep', '100000'], env: { FROM_APP: 'yes' }, workingDir: '/', user: '', stopSignal: null }

/** A machine with an overlay of its own, for one test. */
async function withMachine(
  root: string,
  work: (machine: Machine, link: GuestLink) => Promise<void>,
  options: { readonly config?: GuestConfig; readonly memoryMb?: number; readonly disks?: Record<string, string>; readonly network?: boolean } = {},
): Promise<void> {
  const machine = await Machine.boot(workshop, {
    disks: { root, overlay: await workshop.ext4(), ...options.disks },
    memoryMb: options.memoryMb ?? 256,
    network: options.network ?? false,
  })
  try {
    const link = await machine.connect()
    assert.equal(link.status.state, 'unconfigured')
    await link.configure(options.config ?? PLAIN_CONFIG)
    await work(machine, link)
    link.close()
  } finally {
    await machine.kill()
  }
}

describe('commands in a running guest', () => {
  let machine: Machine
  let link: GuestLink

  before(async () => {
    machine = await Machine.boot(workshop, { disks: { root: busybox, overlay: await workshop.ext4(256 * MiB) }, memoryMb: 512 })
    link = await machine.connect()
    await assert.rejects(link.exec(command(['true'])), fails('invalid_state', /not configured/))
    await link.configure(PLAIN_CONFIG)
    await assert.rejects(link.configure(PLAIN_CONFIG), fails('invalid_state', /configured already/))
    await link.startApp(SLEEPER)
  })
  after(async () => {
    link?.close()
    await machine?.kill()
  })

  /** Connects, writes and goes away, like a server that is killed. */
  const abandon = async (bytes: Uint8Array): Promise<void> => {
    for (;;) {
      const done = await new Promise<boolean>((resolve) => {
        const socket = createConnection(machine.socketPath)
        socket.once('connect', () => {
          socket.write(bytes, () => {
            socket.destroy()
            resolve(true)
          })
        })
        // QEMU has one place in its queue: it is taken until the one before was noticed.
        socket.once('error', () => resolve(false))
      })
      if (done) return
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  test('stdout and stderr stay apart and the exit code arrives', async () => {
    assert.deepEqual(await runs(link, shell('echo out; echo err >&2; exit 7')), {
      stdout: 'out\n', stderr: 'err\n', code: 7, signal: null, timedOut: false,
    })
  })

  test('a signal gives 128 + its number', async () => {
    const { code, signal } = await runs(link, shell('kill -TERM $$'))
    assert.deepEqual({ code, signal }, { code: 143, signal: 15 })
  })

  test('stdin reaches the command and ends', async () => {
    const session = await link.exec(command(['cat']))
    await session.write(Buffer.from('first '))
    await session.write(Buffer.from('second'))
    await session.endInput()
    assert.equal((await finish(session)).stdout, 'first second')
  })

  test('user, supplementary groups, directory and environment are what was asked for', async () => {
    const asked = shell('id; pwd; echo $X $FROM_APP $HOME', { user: 'ann', workingDir: '/tmp', env: { X: 'a b=c' } })
    assert.equal((await runs(link, asked)).stdout, 'uid=1000(ann) gid=1000(ann) groups=10(wheel),1000(ann)\n/tmp\na b=c yes /home/ann\n')
    assert.equal((await runs(link, shell('id -u; id -g; id -G', { user: '77:staff' }))).stdout, '77\n50\n50\n')
  })

  test('who a user is, is what the files of the image say at that moment', async () => {
    const eve = (uid: number, home: string) => shell(`grep -v ^eve: /etc/passwd > /tmp/passwd; echo eve:x:${uid}:${uid}::${home}:/bin/sh >> /tmp/passwd; cat /tmp/passwd > /etc/passwd`)
    for (const [uid, home] of [[1234, '/tmp'], [1234, '/var'], [4321, '/var']] as const) {
      assert.equal((await runs(link, eve(uid, home))).code, 0)
      for (let round = 0; round < 2; round++) {
        assert.equal((await runs(link, shell('id -u; echo $HOME', { user: 'eve' }))).stdout, `${uid}\n${home}\n`)
      }
    }
  })

  test('files of the image that hang hold the commands that need them, and nothing else', async () => {
    const other = await link.exec(shell('mv /etc/passwd /etc/kept; mkfifo /etc/passwd; echo ready; read line; rm /etc/passwd; mv /etc/kept /etc/passwd'))
    const output = other.output[Symbol.asyncIterator]()
    assert.equal(Buffer.from((await output.next()).value?.data ?? []).toString(), 'ready\n')
    // Its time ends it where it hangs, before its program: with pings that are answered meanwhile.
    const hanging = link.exec(command(['true'], { timeoutMs: 500 })).then(finish)
    for (let round = 0; round < 5; round++) await link.ping()
    assert.equal((await hanging).timedOut, true)
    await other.write(Buffer.from('\n'))
    assert.equal((await other.exit).code, 0)
    assert.equal((await runs(link, command(['true']))).code, 0)
  })

  test('what cannot start is refused with its own error', async () => {
    const refusal = async (request: ExecRequest): Promise<BerthError> => {
      const error = await link.exec(request).then(() => null, (reason: unknown) => reason)
      assert(error instanceof BerthError)
      return error
    }
    const missing = await refusal(command(['no-such-program']))
    assert.deepEqual([missing.code, missing.details], ['command_not_found', { exitCode: 127 }])
    const denied = await refusal(command(['/etc/not-executable']))
    assert.deepEqual([denied.code, denied.details], ['guest_path', { exitCode: 126 }])
    assert.equal((await refusal(command(['true'], { workingDir: '/nowhere' }))).code, 'guest_path')
    assert.equal((await refusal(command(['true'], { user: 'nobody-here' }))).code, 'invalid_request')
    assert.equal((await refusal(command([]))).code, 'invalid_request')
    assert.equal((await refusal(command(['x\0y']))).code, 'invalid_request')
    assert.equal((await refusal(command(['echo', 'x'.repeat(5 * MiB)]))).code, 'limit_exceeded')
  })

  test('arguments longer than a frame arrive whole, also with the handshake marker in them', async () => {
    const text = 'x'.repeat(100_000)
    assert.equal((await runs(link, command(['sh', '-c', 'echo ${#1} ${#2}', 'sh', text, text]))).stdout, '100000 100000\n')
  })

  test('the handshake marker in the input is only data', async () => {
    const session = await link.exec(command(['sha256sum']))
    const data = Buffer.concat([Buffer.from('before'), HOST_MARKER, Buffer.alloc(40, 1), HOST_MARKER, HOST_MARKER])
    await session.write(data)
    await session.endInput()
    assert.equal((await finish(session)).stdout.slice(0, 64), createHash('sha256').update(data).digest('hex'))
  })

  test('a terminal has a size, echoes, follows resizes and ends by its end key', async () => {
    const session = await link.exec(shell('stty size; tty; read line; echo got $line; stty size; cat; echo $TERM', { tty: { rows: 33, cols: 101 } }))
    const seen: string[] = []
    const reading = (async () => {
      for await (const { stream, data } of session.output) {
        assert.equal(stream, 'stdout')
        seen.push(Buffer.from(data).toString())
      }
    })()
    const until = async (pattern: RegExp): Promise<void> => {
      const deadline = Date.now() + 30_000
      while (!pattern.test(seen.join(''))) {
        assert(Date.now() < deadline, `no ${pattern} in ${JSON.stringify(seen.join(''))}`)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
    await until(/33 101\r\n\/dev\/pts\/\d+\r\n/)
    session.resize(50, 120)
    await session.write(Buffer.from('one\r'))
    await until(/got one\r\n50 120/)
    await session.endInput()
    await reading
    assert.match(seen.join(''), /xterm-256color/)
    assert.equal((await session.exit).code, 0)
  })

  test('a timeout kills the whole process group', async () => {
    const { code, signal, timedOut } = await runs(link, shell('sleep 98765 & sleep 98765; echo not reached', { timeoutMs: 500 }))
    assert.deepEqual({ code, signal, timedOut }, { code: 137, signal: 9, timedOut: true })
    assert.equal((await runs(link, shell('ps | grep -c "[s]leep 98765"'))).stdout, '0\n')
  })

  test('a signal goes to the process group', async () => {
    const session = await link.exec(shell('trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.1; done'))
    let text = ''
    for await (const { stream, data } of session.output) {
      if (stream === 'stdout') text += Buffer.from(data).toString()
      if (text === 'ready\n') session.signal(10)
    }
    assert.equal(text, 'ready\ncaught\n')
    assert.equal((await session.exit).code, 5)
  })

  test('closing a session kills its processes', async () => {
    const session = await link.exec(shell('sleep 87654 & sleep 87654'))
    session.close()
    await assert.rejects(session.exit, fails('cancelled', /closed/))
    const { stdout } = await runs(link, shell('for i in 1 2 3 4 5 6 7 8 9 10; do ps | grep -q "[s]leep 87654" || exit 0; sleep 0.2; done; echo alive'))
    assert.equal(stdout, '')
  })

  test('background children that keep the pipes open do not hold the session', async () => {
    const { stdout, code } = await runs(link, shell('sleep 300 & echo done; exit 4'))
    assert.deepEqual({ stdout, code }, { stdout: 'done\n', code: 4 })
  })

  test('64 MiB through stdin hash right while memory stays flat', async () => {
    const session = await link.exec(command(['sha256sum']))
    const hash = createHash('sha256')
    const before = process.memoryUsage().rss
    let peak = before
    for (let index = 0; index < 64; index++) {
      const block = Buffer.alloc(MiB, `block ${index} `)
      hash.update(block)
      await session.write(block)
      peak = Math.max(peak, process.memoryUsage().rss)
    }
    await session.endInput()
    assert.equal((await finish(session)).stdout.slice(0, 64), hash.digest('hex'))
    assert(peak - before < 48 * MiB, `memory grew by ${(peak - before) / MiB} MiB`)
  })

  test('64 MiB of output arrive whole and in order', async () => {
    const session = await link.exec(shell('dd if=/dev/urandom of=/tmp/big bs=64k count=1024 2>/dev/null; cat /tmp/big; sha256sum /tmp/big >&2; rm /tmp/big'))
    const hash = createHash('sha256')
    let stderr = ''
    for await (const { stream, data } of session.output) {
      if (stream === 'stdout') hash.update(data)
      else stderr += Buffer.from(data).toString()
    }
    assert.equal(stderr.slice(0, 64), hash.digest('hex'))
  })

  test('a reader that stalls stops its own command, and nothing else', async () => {
    const stalled = await link.exec(shell('yes > /tmp/fifo-log & cat /dev/zero'))
    const before = (await link.memory()).availableBytes
    for (let index = 0; index < 20; index++) {
      assert.equal((await runs(link, command(['echo', `${index}`]))).stdout, `${index}\n`)
    }
    await runs(link, shell('killall yes; rm -f /tmp/fifo-log'))
    assert((await link.memory()).availableBytes > before - 64 * MiB)
    stalled.close()
  })

  test('commands that flood readers who stall cost no memory, and every reader gets its own bytes', async () => {
    const flood = (letter: string) => link.exec(shell(`yes ${letter.repeat(63)} | head -c ${128 * MiB}`))
    const stalled = await Promise.all(['a', 'b', 'c'].map(async (letter) => ({ letter, session: await flood(letter) })))
    const before = process.memoryUsage().arrayBuffers
    let [peak, read] = [before, 0]
    const line = Buffer.from(`${'d'.repeat(63)}\n`)
    const wanted = Buffer.alloc(2 * MiB, line)
    const reader = await flood('d')
    for await (const { data } of reader.output) {
      const at = read % line.length
      assert.equal(Buffer.compare(data, wanted.subarray(at, at + data.length)), 0, `other bytes after ${read}`)
      read += data.length
      peak = Math.max(peak, process.memoryUsage().arrayBuffers)
      if (read > 48 * MiB) break
    }
    reader.close()
    assert(peak - before < 12 * MiB, `memory grew by ${(peak - before) / MiB} MiB`)
    for (const { letter, session } of stalled) {
      let rest = 2 * MiB
      for await (const { data } of session.output) {
        assert.deepEqual([...new Set(Buffer.from(data).toString())].toSorted(), ['\n', letter])
        rest -= data.length
        if (rest < 0) break
      }
      session.close()
    }
  })

  test('a command that does not read its input stops its own writer, and nothing else', async () => {
    const deaf = await link.exec(command(['sleep', '1000']))
    let written = 0
    const writing = (async () => {
      for (let index = 0; index < 64; index++) {
        await deaf.write(Buffer.alloc(MiB))
        written++
      }
    })()
    writing.catch(() => undefined) // ends with the session
    for (let index = 0; index < 20; index++) assert.equal((await runs(link, command(['echo', 'x']))).stdout, 'x\n')
    assert(written < 4, `${written} MiB went into a command that reads nothing`)
    deaf.close()
  })

  test('forty commands at once each get their own output', async () => {
    const results = await Promise.all(Array.from({ length: 40 }, (_, index) => runs(link, shell(`echo ${index}; cat >/dev/null`))))
    assert.deepEqual(results.map((result) => result.stdout), Array.from({ length: 40 }, (_, index) => `${index}\n`))
  })

  test('more commands than a guest takes are refused, and the others live', async () => {
    const sessions = await Promise.allSettled(Array.from({ length: 260 }, () => link.exec(command(['sleep', '1000']))))
    const refused = sessions.filter((session) => session.status === 'rejected')
    assert.equal(refused.length, 4)
    for (const { reason } of refused) fails('limit_exceeded', /256/)(reason)
    for (const session of sessions) if (session.status === 'fulfilled') session.value.close()
    assert.equal((await runs(link, command(['echo', 'on']))).stdout, 'on\n')
  })

  test('orphans are reaped', async () => {
    await runs(link, shell('for i in 1 2 3 4 5; do (sleep 0.1 &) ; done'))
    await runs(link, command(['sleep', '0.5']))
    assert.equal((await runs(link, shell('ps -o stat,args | grep -c "^Z"'))).stdout, '0\n')
  })

  test('the clock is the host clock, and entropy can be added', async () => {
    await runs(link, command(['date', '-s', '2001-01-01 00:00:00']))
    await link.setClock()
    await link.addEntropy(Buffer.alloc(64, 7))
    const guestSeconds = Number((await runs(link, command(['date', '+%s']))).stdout)
    assert(Math.abs(guestSeconds - Date.now() / 1000) < 60)
  })

  test('frozen processes stand still until they are thawed', async () => {
    const counting = await link.exec(shell('i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done'))
    await link.freeze()
    const count = async (): Promise<string> => {
      const parts: Uint8Array[] = []
      for await (const item of link.copyOut('/tmp/count', { followLinks: false })) if (item.type === 'data') parts.push(Buffer.from(item.data))
      return Buffer.concat(parts).toString()
    }
    await link.ping()
    const [first, second] = [await count(), await count()]
    assert.equal(first, second)
    await link.thaw()
    counting.close()
  })

  test('a new connection in mid-stream ends what the old one ran and works at once', async () => {
    const flood = await link.exec(command(['cat', '/dev/zero']))
    const taking = (async () => {
      for await (const _ of flood.output) continue
    })()
    const marked = await link.exec(shell('sleep 76543'))
    link.close()
    await assert.rejects(taking, fails('cancelled', /closed/))
    await assert.rejects(marked.exit, fails('cancelled', /closed/))
    // A server that died in the middle of a frame: a header that promises more than ever comes.
    await abandon(Buffer.from([0, 1, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3]))
    link = await machine.connect()
    assert.equal(link.status.state, 'app-running')
    const { stdout } = await runs(link, shell('for i in 1 2 3 4 5 6 7 8 9 10; do ps | grep -q "[s]leep 76543" || exit 0; sleep 0.2; done; echo alive'))
    assert.equal(stdout, '')
    assert.equal((await runs(link, command(['echo', 'again']))).stdout, 'again\n')
  })

  test('a server that dies over and over, at any point of a handshake, leaves the guest reachable', async () => {
    link.close()
    for (let length = 1; length < 64; length += 9) {
      await abandon(Buffer.concat([HOST_MARKER, Buffer.alloc(16, length), HOST_MARKER]).subarray(0, length))
    }
    link = await machine.connect()
    assert((await link.ping()) >= 0)
  })
})

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
