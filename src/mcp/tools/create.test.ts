import assert from 'node:assert/strict'
import { test } from 'node:test'
import { idleCommand } from './create.ts'

const TAIL = ['tail', '-f', '/dev/null']
for (const [image, entrypoint, cmd, wanted] of [
  ['alpine', [], ['/bin/sh'], { cmd: TAIL }],
  ['debian', [], ['bash'], { cmd: TAIL }],
  ['python', [], ['python3'], { cmd: TAIL }],
  ['node', ['docker-entrypoint.sh'], ['node'], { cmd: TAIL }],
  ['a login shell', [], ['/bin/bash', '-l'], { cmd: TAIL }],
  ['a shell as entrypoint', ['/bin/bash'], [], { entrypoint: ['tail'], cmd: ['-f', '/dev/null'] }],
  ['nginx', ['/docker-entrypoint.sh'], ['nginx', '-g', 'daemon off;'], null],
  ['a script in a shell', [], ['sh', '-c', 'serve'], null],
  ['a script of an interpreter', [], ['python3', 'app.py'], null],
  ['a program of its own', ['/app'], [], null],
  ['nothing at all', [], [], null],
] as const) {
  test(`${image} ${wanted === null ? 'runs what it says' : 'idles'}`, () => assert.deepEqual(idleCommand({ entrypoint, cmd }), wanted))
}
