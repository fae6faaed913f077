/** The guest's agent in a real VM that runs: commands, their streams and limits, and servers that come and go. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createConnection } from 'node:net'
import { after, before, describe, test } from 'node:test'
import type { ExecRequest } from '../src/engine/host-port.ts'
import type { GuestLink } from '../src/host/guest-link/link.ts'
import { HOST_MARKER } from '../src/host/guest-link/protocol.ts'
import { BerthError } from '../src/instance/errors.ts'
import { busybox, command, fails, finish, runs, shell, SLEEPER, useWorkshop, workshop } from './guest-lab.ts'
import { Machine, PLAIN_CONFIG } from './guest-vm.ts'

const MiB = 1024 * 1024

useWorkshop()

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
